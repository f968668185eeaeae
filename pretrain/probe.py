"""python -m launch probe --encoder PRETRAINED/encoder --shards SHARDS --tables TABLES --out PROBED

Says what an encoder has learned, by labels it never saw: linear probes and retrieval between the modalities, beside raw
features and an encoder of the same size that was never trained. Exchanging the sound of videos shows what leaks from
one modality into the other. Prints a table and writes `probe.json`.

Weak labels are probed on one row a video (the mean of its seconds, both modalities), fitted on the training split;
dense labels on the rows of one modality, second by second, fitted on the validation split. All is scored on the test
split.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from pydantic import Field

from launch import tracking
from launch.atomic import whole_folder
from launch.digest import sha256_file
from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Thing, Tracking
from pretrain.evaluation.labelled import Truth, probe_seconds, probe_videos, retrieve
from pretrain.evaluation.subjects import Seen, Subject, see, subjects
from pretrain.export import check_features
from pretrain.model import describe_encoder, load_encoder
from pretrain.traced import encoder_of
from shards.labels import SPLITS, Tables
from shards.location import Location
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import MODALITIES
from shards.traced import label_tables, shard_set

PROBE = "probe.json"
HEADS = {
    "second_map": "seconds",
    "audio_map": "audible",
    "visual_map": "visible",
    "video_map": "videos",
    "audio_to_visual_map": "A→V",
    "visual_to_audio_map": "V→A",
}


class Config(Settings):
    """Linear probes and retrieval of an encoder's embeddings by labels, beside raw features and random weights."""

    encoder: Path = Field(description="folder `encoder` that pretrain wrote")
    shards: Location = Field(description="folder or URL of the sets train, validation and test that pack wrote")
    tables: Path = Field(description="folder of LLP's six annotation tables")
    out: Path = Field(description=f"new folder for {PROBE}")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    seed: int = Field(0, ge=0, description="of the random encoder's weights")
    batch: int = Field(256, ge=1, description="videos encoded at a time; the scores do not depend on it")
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Reads every set once for all rows of the table."""
    with tracking.run(config.tracking, "probe", config) as record, whole_folder(config.out, config.replace) as folder:
        described, sets, tables = describe_encoder(config.encoder), _sets(config), Tables.load(config.tables)
        for name, shards in sets.items():
            check_features(described, shards)
            _check_split(config, tables, name, shards)
        say(f"Read the encoder {described.digest[:12]} from '{config.encoder}' and the tables in '{config.tables}'.")
        compared = subjects(load_encoder(config.encoder), config.seed)
        seen = {name: see(shards, compared, name != "train", config.batch) for name, shards in sets.items()}
        truths = {name: Truth.of(tables, seen[name].keys) for name in SPLITS}
        found = {each.name: scores(each, seen, truths) | each.leak(sets["test"]) for each in compared}
        read = (shard_set(shards, name) for name, shards in sets.items())
        record.reads(encoder_of(config.encoder), *read, label_tables(config.tables))
        record.metrics(0, {f"{n.split()[0]}.{key}": value for n, of in found.items() for key, value in of.items()})
        videos = {name: len(each.keys) for name, each in seen.items()}
        told = {"encoder": described.digest, "seed": config.seed, "videos": videos, "scores": found}
        (folder / PROBE).write_text(json.dumps(told, indent=1) + "\n")
        record.artifact(folder / PROBE)
        record.makes(Thing("scores", sha256_file(folder / PROBE), config.out))
        record.skipped(0, [fault for each in seen.values() for fault in each.faults])
    say(f"Mean average precision in percent on {videos['test']:,} test videos:\n{table(found)}")
    say(leaks(found[compared[-1].name]))
    say(f"Wrote {PROBE} into '{config.out}'.")


def scores(subject: Subject, seen: Mapping[str, Seen], truths: Mapping[str, Truth]) -> dict[str, float]:
    """Everything that is measured of one subject; retrieval only where both modalities share a space.

    Precisions and recalls are in [0, 1]; what is not defined, since no label occurs on both sides, is left out.
    """
    means = {name: seen[name].means[subject.name] for name in ("train", "test")}
    found = probe_videos(means["train"], truths["train"], means["test"], truths["test"])
    rows = {name: seen[name].rows[subject.name] for name in ("validation", "test")}
    found |= probe_seconds(rows["validation"], truths["validation"], rows["test"], truths["test"])
    found |= retrieve(rows["test"], truths["test"]) if subject.encodes else {}
    return {name: value for name, value in found.items() if math.isfinite(value)}


def table(found: Mapping[str, Mapping[str, float]]) -> str:
    """One line a subject; a dash where a score is not defined."""
    width = max(map(len, found))
    lines = [" " * width + "".join(f"{head:>9}" for head in HEADS.values())]
    for name, of in found.items():
        cells = (f"{100 * of[key]:9.1f}" if key in of else f"{'–':>9}" for key in HEADS)
        lines.append(f"{name:{width}}{''.join(cells)}")
    chance = next((of for of in found.values() if "audio_to_visual_chance" in of), {})
    cells = (f"{100 * chance[key]:9.1f}" for key in ("audio_to_visual_chance", "visual_to_audio_chance") if chance)
    return "\n".join([*lines, f"{'chance':{width}}{'':36}{''.join(cells)}"])


def leaks(found: Mapping[str, float]) -> str:
    """A sentence on what leaks from one modality into the embeddings of the other."""
    parts = (
        f"{name} embeddings keep a cosine of {found[f'{name}_follows_snippet']:.2f} to their own snippet's, and have "
        f"{found[f'{name}_follows_video']:.2f} to those of the video they were fused with (videos among each other "
        f"{found[f'{name}_between_videos']:.2f})"
        for name in MODALITIES
        if f"{name}_follows_snippet" in found
    )
    return f"With another video's sound, {'; '.join(parts) or 'nothing can be said of one video'}."


def _sets(config: Config) -> dict[str, Shards]:
    sets = open_sets(config.shards, config.reading)
    lacking = [name for name in SPLITS if name not in sets]
    if lacking:
        raise Refusal(
            f"A probe needs the sets {', '.join(SPLITS)}, but '{config.shards}' lacks {', '.join(lacking)} and holds "
            f"{', '.join(sets) or 'none'}: give the folder that `pack --tables` wrote."
        )
    return {name: sets[name] for name in SPLITS}


def _check_split(config: Config, tables: Tables, split: str, shards: Shards) -> None:
    """Refuses a video that the tables have in another split, or not at all: it might be fitted and scored on."""
    known = set(tables.keys(split))
    stray = next((key for key in shards.keys if key not in known), None)
    if stray is not None:
        raise Refusal(
            f"A set must hold videos of its own split, but '{stray}' of '{shards.location}' is not among the {split} "
            f"videos of '{config.tables}': give the tables that the shards were packed with."
        )
