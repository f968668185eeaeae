"""python -m launch parse my.mp4 other.mkv folder --parser runs/han --out parsed --html

Parses video files of any length: extracts their features, parses them, and writes of each, into `videos/<name>/`, its
events as JSON, label files for Audacity and ELAN, a timeline, and with `--html` a page to look at: the video with what
is heard and seen in it, in one file that loads nothing from elsewhere. Nothing leaves the machine.

Files and folders stand by themselves; one whose name begins with `-` is `./-my.mp4` or `--videos=-my.mp4`. With
`--encoder` the parser reads that encoder's embeddings. What concerns the extraction is a group of its own, as in
`--extract.weights.folder DIR`; its result stays in `features/`, and another parser does not extract again.
"""

import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field

from finetune.page.page import Made
from finetune.page.playing import PageSettings
from finetune.parser import Parser, origin
from finetune.parses.files import ParsedFiles
from finetune.parses.fits import check_fits
from finetune.parses.folder import INDEX as PARSES
from finetune.parses.report import INDEX, PAGE, PARSE, Pages, Report
from finetune.scoring.decision import Protocol
from finetune.traced import parser_of
from launch import tracking
from launch.atomic import remove_lost, whole_folder
from launch.chain import Failed, run, words
from launch.digest import sha256_file
from launch.progress import say, track
from launch.refusal import Refusal
from launch.room import full_disk_refused
from launch.settings import Settings, in_group
from launch.target import check_target
from launch.tracking import Thing, Tracking
from shards.extract.making import failures
from shards.extract.making.files import check_place, plain
from shards.extract.recipes import describe, warning
from shards.extract.settings import ExtractSettings
from shards.labels import Tables
from shards.manifest import Manifest
from shards.schema import PRESENT
from shards.traced import written_set

FEATURES, EMBEDDINGS, CLIPS, VIDEOS = "features", "embeddings", "parses", "videos"
"""What `out` holds: a folder a stage, and what is made of them all."""
FEW = 5
"""Files that are named on the screen."""


class Config(Settings):
    """Parses video files: events as JSON and label files, timelines, and pages to look at."""

    videos: tuple[Path, ...] = Field(min_length=1, description="video files, and folders of them, searched deep")
    parser: Path = Field(description="folder of the parser that finetune wrote")
    encoder: Path | None = Field(None, description="folder of the encoder whose embeddings the parser reads; none: raw")
    out: Path = Field(description="folder to write; features that are there already are not extracted again")
    html: bool = Field(False, description="whether to write a page a file")
    tables: Path | None = Field(None, description="folder of LLP's tables: the truth that timelines and pages show")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    extract: ExtractSettings = ExtractSettings()
    protocol: Protocol = Protocol()
    page: PageSettings = PageSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Runs the stages in turn, then writes the files' parses; a stage that fails ends this one with its exit code."""
    _check_places(config)
    scale = _check_parser(config)
    for stage, arguments in chain(config, scale):
        try:
            run(stage, arguments)
        except Failed:
            if stage == "extract":
                say("Settings of the extraction are a group here: extract's --on_bad is --extract.on_bad.")
            raise
    report(config)


def chain(config: Config, scale: str) -> list[tuple[str, list[str]]]:
    """The stages that are still to run, with their arguments; `scale`: of the embeddings, "" without an encoder."""
    out, where = config.out, _given(config.tracking, "tracking.")
    read = out / (EMBEDDINGS if config.encoder else FEATURES)
    files = [str(path.absolute()) for path in config.videos]
    extract = ["--videos", *files, *words(out=out / FEATURES, replace=config.replace), *_given(config.extract)]
    parse = words(parser=config.parser.absolute(), shards=read, out=out / CLIPS, curves=True, pictures=0, replace=True)
    steps = [("extract", [*extract, *where])]
    if config.encoder:
        export = words(encoder=config.encoder.absolute(), shards=out / FEATURES, out=read, scale=scale, replace=True)
        steps.append(("export", [*export, *where]))
    return [*steps, ("predict", [*parse, "--labels", *_given(config.protocol, "protocol."), *where])]


def report(config: Config) -> None:
    """Writes `videos`: what the stages found, file by file."""
    out, tables = config.out, Tables.load(config.tables) if config.tables else None
    made = _made(config)
    remove_lost(out / VIDEOS)
    with (
        tracking.run(config.tracking, "parse", config) as record,
        full_disk_refused(out, "Parses"),
        whole_folder(out / VIDEOS, config.replace) as folder,
    ):
        read = Thing("parses", sha256_file(out / CLIPS / PARSES), out / CLIPS)
        record.reads(parser_of(config.parser), written_set(Manifest.read(out / FEATURES), out / FEATURES), read)
        pages = Pages(config.page, config.extract.max_pixels) if config.html else None
        result = Report(folder, out.absolute() / VIDEOS, made, pages)
        for whole in track(ParsedFiles(out / FEATURES, out / CLIPS, tables), "telling", unit="video"):
            result.add(whole)
        result.finish()
        record.makes(Thing("videos", sha256_file(folder / INDEX), out / VIDEOS))
        record.metrics(0, {"files": len(result.videos), "events": result.events})
        record.artifact(folder / INDEX)
    _tell(config, result, made)


def _tell(config: Config, result: Report, made: Made) -> None:
    """Says what lacks sound or pictures, where the results are, and what must not be overlooked."""
    place = config.out / VIDEOS
    for modality, nothing in (("audio", "sound, so nothing is heard"), ("visual", "picture, so nothing is seen")):
        without = [name for name, told in result.videos.items() if modality in told.get("without", ())]
        if without:
            named = ", ".join(f"'{name}'" for name in without[:FEW]) + (", …" if len(without) > FEW else "")
            say(f"No {nothing}, in {len(without):,} of {len(result.videos):,} files: {named}.")
    left_out = config.out / FEATURES / failures.NAME
    if count := len(failures.read(left_out.read_text())):
        say(f"Left out: {count:,}, as '{left_out}' lists.")
    files, events = failures.counted(len(result.videos), "file"), failures.counted(result.events, "event")
    say(f"Wrote the parses of {files} with {events} into '{place}', see {INDEX}.")
    for told in list(result.videos.values())[:FEW]:
        home = place / told["folder"]
        say(f"  {plain(home / PAGE).as_uri() if config.html else home / PARSE}")
    if len(result.videos) > FEW:
        say(f"  … and {len(result.videos) - FEW:,} more")
    if config.tables and not result.known:
        say(f"The tables in '{config.tables}' know none of these clips: no truth is shown.")
    for warned in made.warnings:
        say(warned)


def _check_places(config: Config) -> None:
    """Raises Refusal before anything is made where videos or tables are not there, or the results could not be."""
    for path in config.videos:
        check_place(path)
        if not path.exists():
            raise Refusal(f"A video to parse must be there, but '{path}' is not: give the file, or its folder.")
        if path.is_dir() and config.out.resolve().is_relative_to(path.resolve()):
            raise Refusal(
                f"Results must not lie among the videos, or they would be taken for some, but '{config.out}' lies in "
                f"'{path}': give another --out."
            )
    if config.out.is_dir():
        known = {FEATURES, EMBEDDINGS, CLIPS, VIDEOS}
        foreign = [name for name in os.listdir(config.out) if name not in known and not name.startswith(".")]
        if foreign:
            raise Refusal(
                f"A folder for parses must be new or one that parse wrote, but '{config.out}' holds '{foreign[0]}', "
                "which it did not: give another --out."
            )
    if config.out.exists() and not config.out.is_dir():
        raise Refusal(f"An output folder must not be a file, but '{config.out}' is one: give another --out.")
    check_target(config.out / VIDEOS, config.replace)
    if config.tables:
        Tables.load(config.tables)


def _check_parser(config: Config) -> str:
    """The scale of the embeddings the parser reads; Refusal where it does not read what will be extracted."""
    features, _ = origin(Parser.from_pretrained(config.parser), config.parser)
    try:
        made = describe(config.extract)
    except Refusal as refusal:
        raise Refusal(in_group(str(refusal), ExtractSettings, "extract")) from None
    return check_fits(features, made, config.extract.recipe, config.encoder)


def _made(config: Config) -> Made:
    """How the parses came to be, in words."""
    features = Manifest.read(config.out / FEATURES).features
    loud = warning(list(features.values()))
    protocol = config.protocol
    fixed = protocol.thresholds == "fixed"
    threshold = f"a probability of {protocol.threshold:g} or more" if fixed else "thresholds fitted for each category"
    weights = parser_of(config.parser).digest[:12]
    told = {
        "Parser": f"{config.parser.resolve().name}, weights {weights}",
        "Positive": f"{threshold}; gate: {protocol.gate.replace('_', ' ')}",
        **{name: " · ".join(filter(None, (each.variant, each.source))) for name, each in features.items()},
    }
    if config.encoder:
        told["Encoder"] = config.encoder.resolve().name
    told.pop(PRESENT, None)
    return Made(told, [loud] if loud else [], protocol.threshold if fixed else None)


def _given(settings: BaseModel, prefix: str = "") -> list[str]:
    """The settings that are not as they are by themselves, as words of a command line: `--name=value` each."""
    found = list[str]()
    for name, field in type(settings).model_fields.items():
        value: Any = getattr(settings, name)
        if isinstance(value, BaseModel):
            found += _given(value, f"{prefix}{name}.")
        elif value != field.get_default(call_default_factory=True):
            found.append(f"--{prefix}{name}={value}")
    return found
