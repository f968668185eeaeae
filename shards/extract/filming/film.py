"""python -m launch film --out films --train 36 --validation 8 --test 4

Films clips of ten seconds whose events are known: some are only heard, some only seen, some both, and some heard at
another time than seen. Writes `videos/<id>.mp4` and LLP's six tables beside them, so that a parser can be trained on
their features and its parses be held against the truth.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, UInt8
from pydantic import Field

from launch import tracking
from launch.atomic import whole_folder
from launch.crew import share_out
from launch.digest import sha256_json
from launch.progress import say, track
from launch.settings import Settings
from launch.target import FILMS
from launch.tracking import Tracking
from shards.extract.filming.encode import write_video
from shards.extract.filming.scenes import CATEGORIES_SHOWN, LOOKS, RATE, backdrop, has_voice, sound_of
from shards.labels import CATEGORIES, SPLITS, Span, Tables
from shards.planted.dice import Dice
from shards.schema import SECONDS
from shards.traced import label_tables, video_files

FRAMES_PER_SECOND = 16
KINDS = ("heard", "seen", "both", "asynchronous")
Kind = Literal["heard", "seen", "both", "asynchronous"]


class Config(Settings):
    """Films clips with known events: MP4 files, and their tables in LLP's format."""

    out: Path = Field(Path("films"), description="folder to write: videos/ and tables/")
    train: int = Field(36, ge=1, description="training clips")
    validation: int = Field(8, ge=1, description="validation clips")
    test: int = Field(4, ge=1, description="test clips")
    seed: int = Field(0, ge=0, description="seed of all that is drawn")
    processes: int = Field(0, ge=0, description="processes that film; 0: one a core")
    replace: bool = Field(False, description="whether an output folder that is there already may be replaced")
    tracking: Tracking = Tracking()


@dataclass(frozen=True)
class Film:
    """One clip before it is filmed: category and seconds [onset, offset) of each event, by modality."""

    key: str
    heard: tuple[Span, ...]
    seen: tuple[Span, ...]
    hue: float

    @property
    def labels(self) -> tuple[int, ...]:
        """Its weak labels."""
        return tuple(sorted({span.category for span in (*self.heard, *self.seen)}))


def main(config: Config) -> None:
    """Writes all clips and tables, or nothing."""
    films = {split: [draw(config.seed, split, number) for number in range(getattr(config, split))] for split in SPLITS}
    every = [film for split in SPLITS for film in films[split]]
    with tracking.run(config.tracking, "film", config) as record:
        with whole_folder(config.out, config.replace) as folder:
            for name in ("videos", "tables"):
                (folder / name).mkdir()
            tables_of(films).write(folder / "tables")
            with share_out(partial(shoot, folder / "videos"), every, config.processes) as written:
                for _ in track(written, "film", len(every), "videos"):
                    pass
            sizes = [(path.name, path.stat().st_size) for path in sorted((folder / "videos").iterdir())]
            told = _told(config) | {"digest": sha256_json(sizes)}
            (folder / FILMS).write_text(json.dumps(told, indent=1) + "\n")
        record.metrics(0, {f"videos.{split}": len(films[split]) for split in SPLITS})
        record.makes(video_files(sizes, [config.out / "videos"]), label_tables(config.out / "tables"))
    voice = "spoken by espeak-ng" if has_voice() else "a buzz, since espeak-ng is not installed"
    say(f"Wrote '{config.out}': {len(every)} clips of {SECONDS} seconds and their tables; Speech is {voice}.")


def _told(config: Config) -> dict[str, Any]:
    """What the films are: all that they depend on."""
    counts = {split: getattr(config, split) for split in SPLITS}
    return {"stage": "film", "seed": config.seed, "videos": counts, "voice": has_voice()}


def draw(seed: int, split: str, number: int) -> Film:
    """A clip with one or two events of different categories, of any kind, each of two to six seconds."""
    dice = Dice(seed, "film", split, number)
    heard, seen, left = list[Span](), list[Span](), list(CATEGORIES_SHOWN)
    for _ in range(1 + dice.happens(0.6)):
        category = CATEGORIES.index(left.pop(dice.below(len(left))))
        kind, span = KINDS[dice.below(len(KINDS))], _span(category, dice)
        heard += [span] if kind != "seen" else []
        seen += [_span(category, dice) if kind == "asynchronous" else span] if kind != "heard" else []
    return Film(f"film-{split}-{number:04d}_0_{SECONDS}", tuple(heard), tuple(seen), dice.uniform())


def tables_of(films: Mapping[str, Sequence[Film]]) -> Tables:
    """Weak labels of all splits; the spans of validation and test clips, as in LLP."""
    dense = [film for split in SPLITS[1:] for film in films[split]]
    return Tables(
        weak={split: {film.key: film.labels for film in films[split]} for split in SPLITS},
        audio={film.key: film.heard for film in dense if film.heard},
        visual={film.key: film.seen for film in dense if film.seen},
    )


def shoot(folder: Path, film: Film) -> None:
    """Writes the clip's file, `<id>.mp4`."""
    path = folder / f"{film.key.removesuffix(f'_0_{SECONDS}')}.mp4"
    write_video(path, _frames(film), FRAMES_PER_SECOND, _sound(film), RATE)


def _span(category: int, dice: Dice) -> Span:
    length = 2 + dice.below(5)
    onset = dice.below(SECONDS - length + 1)
    return Span(category, onset, onset + length)


def _frames(film: Film) -> Iterator[UInt8[np.ndarray, "height width 3"]]:
    for number in range(SECONDS * FRAMES_PER_SECOND):
        time = number / FRAMES_PER_SECOND
        frame = backdrop(film.hue, time)
        for span in film.seen:
            if span.onset <= time < span.offset:
                look = LOOKS[CATEGORIES[span.category]]
                frame[look.mask(time)] = look.colour
        yield frame


def _sound(film: Film) -> Float[np.ndarray, " sample"]:
    sound = 0.002 * np.random.default_rng(int(film.hue * 2**32)).standard_normal(SECONDS * RATE).astype(np.float32)
    for span in film.heard:
        part = sound_of(CATEGORIES[span.category], span.offset - span.onset)
        sound[span.onset * RATE : span.offset * RATE] += part
    return np.clip(sound, -1, 1)
