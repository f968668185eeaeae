"""python -m launch extract --videos clips --out features
python -m launch extract one.mp4 other.mkv --out features
python -m launch extract --videos audioset --segments balanced_train_segments.csv --out work/shards --recipe clip_clap
python -m launch extract --videos LLP --tables llp --trimmed True --out work/llp

Makes features of video files: cuts them into clips of ten seconds, decodes them in several processes, lets the networks
of a recipe look and listen, and writes one shard set with the features and `present`, which says which seconds have
audio and which a picture. What is no use is listed in `failures.csv` and left out. An extraction that was stopped or
killed goes on when it is started again; the bytes depend neither on that nor on the number of processes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pydantic import Field

from launch import tracking
from launch.atomic import resumable_folder, run_of
from launch.digest import sha256_file, sha256_json
from launch.progress import say
from launch.refusal import Refusal
from launch.room import full_disk_refused
from launch.tracking import Record, Thing, Tracking
from shards.extract.clips import Parts, cut, parts_of_tables, read_segments
from shards.extract.making import failures, files, result
from shards.extract.making.assembly import THERE
from shards.extract.making.failures import Failure, counted
from shards.extract.making.means import Means, means_of
from shards.extract.making.plan import Plan, plan_of
from shards.extract.making.run import Making, examine
from shards.extract.settings import ExtractSettings
from shards.finished import VERSION, Done, sweep
from shards.manifest import Manifest
from shards.traced import label_tables, table_digests, video_files, written_set

A_CLIP = "54 kB a clip with llp's"
"""What the disk must have room for."""


class Config(ExtractSettings):
    """Makes features of video files as a shard set, and lists what is no use."""

    videos: tuple[Path, ...] = Field(min_length=1, description="folders, which are searched deep, and video files")
    out: Path = Field(description="folder to write: a shard set, with the list of what was left out")
    replace: bool = Field(False, description="whether the result may replace another one in out")
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Extracts all that is there, or goes on; raises Refusal where nothing can be."""
    extract(config, means_of(config))


def extract(config: Config, means: Means) -> None:
    """The stage, by these means."""
    found = files.find(config.videos, config.pattern, aside=(config.out, config.tracking.root))
    parts = _parts(config)
    common = _common(config, means)
    given = common | _inputs(config, found.files)
    if result.is_finished(config.out, given, config.replace):
        _say_finished(config, means)
        return
    _warn(means)
    with tracking.run(config.tracking, "extract", config, resume=run_of(config.out, common)) as record:
        record.reads(*_things(config, found.files))
        with (
            full_disk_refused(config.out, "Features", A_CLIP),
            resumable_folder(config.out, common, config.replace) as unfinished,
        ):
            unfinished.run.write_text(record.run_id)
            survey = _survey(config, means, found, parts, record)
            making = Making(survey.plan, means, unfinished, config.on_bad, config.processes, config.audio_track)
            done = making.shards()
            told = making.assembly.told()
            faults = failures.in_order([*survey.failures, *told.failures])
            record.text(failures.NAME, failures.table(faults))
            manifest = _manifest(config, means, survey, done, faults)
            sweep(unfinished, done)
            result.write(unfinished.result, survey.plan, told, given, faults, survey.missing)
            manifest.write(unfinished.result)
        record.makes(written_set(manifest, config.out))
        record.metrics(0, {"videos": manifest.videos, **_counts(manifest)})
    _report(config, manifest, survey, faults)
    _warn(means)


@dataclass(frozen=True)
class Survey:
    """What is known before the first clip is decoded."""

    plan: Plan
    failures: tuple[Failure, ...]
    missing: tuple[str, ...]
    """Keys of the list that no file is for."""


def _survey(config: Config, means: Means, found: files.Found, parts: Parts | None, record: Record) -> Survey:
    """Examines the files and plans their clips. Raises Refusal where there is none."""
    chosen = [file for file in found.files if parts is None or parts.wants(file.stem)]
    if parts and len(chosen) < len(found.files):
        say(f"Left aside: {counted(len(found.files) - len(chosen), 'file')} that '{parts.place}' does not name.")
    missing = parts.without_file([file.stem for file in found.files]) if parts else ()
    good, bad = examine(means, chosen, config.processes, config.on_bad)
    cutting = partial(parts.cut, trimmed=config.trimmed) if parts else cut
    plan = plan_of(good, cutting, config.videos_per_shard)
    faults = failures.in_order([*found.failures, *bad, *plan.failures])
    if faults and config.on_bad == "stop":
        raise Refusal(f"{str(faults[0]).removesuffix('.')}, or go on without what is bad (--on_bad skip).")
    if not plan.clips:
        record.text(failures.NAME, failures.table(faults))
        first = f"the first fault: {faults[0]}" if faults else f"'{parts and parts.place}' names no file that is there."
        raise Refusal(f"At least one clip must come of {counted(len(found.files), 'file')}, but none does; {first}")
    say(f"Planned: {counted(len(plan.clips), 'clip')} of {counted(len(good), 'file')}.")
    if parts and (short := plan.cut_short()):
        say(
            f"Parts of the list that go on for a second or more beyond their files: {len(short):,}, as "
            f"'{short[0].clip.key}' in {short[0].of.seconds:g} s; what is not there is absent. Where files hold their "
            "parts alone, give --trimmed True."
        )
    return Survey(plan, tuple(faults), missing)


def _parts(config: Config) -> Parts | None:
    if config.segments:
        return read_segments(config.segments)
    return parts_of_tables(config.tables) if config.tables else None


def _common(config: Config, means: Means) -> dict[str, str]:
    """What all shards have in common, in parts with names; what one is made from, its note says (`Plan.digest`)."""
    features = [[each.name, each.width, each.variant, each.source, each.dtype] for each in means.features]
    return {
        "version": VERSION,
        "recipe": sha256_json(features),
        **means.told,
        "videos_per_shard": str(config.videos_per_shard),
    }


def _inputs(config: Config, found: Sequence[files.VideoFile]) -> dict[str, str]:
    """What is read: the files, by their size and time of change, and the list of their parts."""
    listed = sha256_file(config.segments) if config.segments else ""
    listed = sha256_json(table_digests(config.tables)) if config.tables else listed
    return {
        "files": sha256_json([[str(file.path), *file.stamp] for file in found]),
        "list of parts": f"{'trimmed ' if config.trimmed else ''}{listed or 'none'}",
    }


def _things(config: Config, found: Sequence[files.VideoFile]) -> list[Thing]:
    videos = video_files([(file.name, file.stamp[0]) for file in found], config.videos)
    return [videos, *([label_tables(config.tables)] if config.tables else [])]


def _manifest(
    config: Config, means: Means, survey: Survey, done: Sequence[Done], faults: Sequence[Failure]
) -> Manifest:
    shards = tuple(each.shard for each in done if each.shard)
    if not shards:
        raise Refusal(
            f"A shard set must hold at least one video, but all of '{config.out}' are bad, the first so: {faults[0]}"
        )
    left_out = {"faults": len(faults), "clips": sum(len(each.bad) for each in done), "missing": len(survey.missing)}
    source = {"stage": "extract", "recipe": config.recipe, **means.told, "left_out": left_out}
    return Manifest({each.name: each for each in (*means.features, THERE)}, shards, source)


def _counts(manifest: Manifest) -> dict[str, int]:
    return {f"left_out.{name}": count for name, count in manifest.source["left_out"].items()}


def _report(config: Config, manifest: Manifest, survey: Survey, faults: Sequence[Failure]) -> None:
    size = sum(shard.bytes for shard in manifest.shards) / 2**20
    say(f"Wrote '{config.out}': {counted(manifest.videos, 'video')}, {size:,.1f} MiB, manifest {manifest.digest[:12]}.")
    failures.tell(faults)
    if survey.missing:
        say(
            f"No file is there for {counted(len(survey.missing), 'part')} of the list, as '{survey.missing[0]}': see "
            f"{result.MISSING}."
        )
    if survey.plan.dropped >= 0.05:
        say(f"Ends of files that are too short for a clip, {survey.plan.dropped:.1f} s together, were left out.")


def _say_finished(config: Config, means: Means) -> None:
    """Says that all is done; raises Refusal where it was done without what shall stop it."""
    faults = failures.read((config.out / failures.NAME).read_text())
    if faults and config.on_bad == "stop":
        raise Refusal(f"Everything must be of use, but '{config.out}' was made without {len(faults)}: {faults[0]}")
    say(
        f"'{config.out}' holds this extraction already, {counted(Manifest.read(config.out).videos, 'video')}: nothing "
        "is left to do. To extract once more, delete it."
    )
    failures.tell(faults)
    _warn(means)


def _warn(means: Means) -> None:
    if means.warning:
        say(means.warning)
