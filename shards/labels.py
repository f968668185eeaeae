"""The labels of a corpus: which categories each video has, and what is heard and seen in it, second by second.

Labels are not in the shards; they are six tables joined by key (`shards/tables.py` describes their format), so
relabelling a video never repacks it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Bool

from launch.refusal import Refusal
from shards.schema import SECONDS, seconds_of
from shards.tables import (
    CATEGORIES,
    Defects,
    Row,
    Span,
    feature_id,
    read_dense,
    read_weak,
    write_dense,
    write_weak,
)

__all__ = [
    "CATEGORIES",
    "DENSE_FILES",
    "FULL_FILE",
    "SIZES",
    "SPLITS",
    "WEAK_FILES",
    "Defects",
    "Span",
    "Tables",
    "feature_id",
    "fill",
    "spans_of",
]
SPLITS = ("train", "validation", "test")
SIZES = dict(zip(SPLITS, (10_000, 649, 1_200), strict=True))
"""Videos of LLP's splits."""
WEAK_FILES = {"train": "AVVP_train.csv", "validation": "AVVP_val_pd.csv", "test": "AVVP_test_pd.csv"}
FULL_FILE = "AVVP_dataset_full.csv"
DENSE_FILES = {"audio": "AVVP_eval_audio.csv", "visual": "AVVP_eval_visual.csv"}
NO_DEFECTS = Defects()


@dataclass(frozen=True)
class Tables:
    """The annotations of a corpus: weak labels of every split, spans of the videos that were annotated densely."""

    # split -> key -> category indices, ascending; splits and keys in table order
    weak: Mapping[str, Mapping[str, tuple[int, ...]]]
    # key -> spans in table order; a key without rows is absent
    audio: Mapping[str, tuple[Span, ...]]
    visual: Mapping[str, tuple[Span, ...]]
    defects: Defects = NO_DEFECTS

    @classmethod
    def load(cls, folder: Path) -> "Tables":
        """The six tables in `folder`; anything but the known kinds of defects is refused (`Refusal`) by its place."""
        doubled: list[Row] = []
        weak = {split: read_weak(folder / name, doubled) for split, name in WEAK_FILES.items()}
        full = read_weak(folder / FULL_FILE, doubled)
        _check_splits(folder, weak, full)
        known = {*full, *(key for videos in weak.values() for key in videos)}
        audio, audio_defects = read_dense(folder / DENSE_FILES["audio"], known)
        visual, visual_defects = read_dense(folder / DENSE_FILES["visual"], known)
        defects = Defects(
            unknown=audio_defects.unknown + visual_defects.unknown,
            empty=audio_defects.empty + visual_defects.empty,
            repeated=audio_defects.repeated + visual_defects.repeated,
            doubled=tuple(doubled),
        )
        return cls(weak, audio, visual, defects)

    def keys(self, split: str) -> tuple[str, ...]:
        """The keys of a split (`SPLITS`), in table order."""
        return tuple(self.weak[split])

    def weak_matrix(self, keys: Sequence[str]) -> Bool[np.ndarray, "video category"]:
        """Which categories occur in each video, in any modality; a key that no table knows is refused."""
        matrix = np.zeros((len(keys), len(CATEGORIES)), dtype=bool)
        for row, key in enumerate(keys):
            matrix[row, list(self._labels(key))] = True
        return matrix

    def truth(
        self, keys: Sequence[str]
    ) -> tuple[Bool[np.ndarray, "video category second"], Bool[np.ndarray, "video category second"]]:
        """What is audible and what is visible, second by second; a key without rows (training videos) is all False."""
        return fill(self.audio, keys), fill(self.visual, keys)

    def restrict(self, chosen: Mapping[str, Sequence[str]]) -> "Tables":
        """The same tables for the chosen keys of each split only, in this table's order; without defects."""
        wanted = {split: set(chosen[split]) for split in SPLITS}
        weak = {s: {k: v for k, v in self.weak[s].items() if k in wanted[s]} for s in SPLITS}
        every = {key for keys in weak.values() for key in keys}
        audio = {key: spans for key, spans in self.audio.items() if key in every}
        visual = {key: spans for key, spans in self.visual.items() if key in every}
        return Tables(weak, audio, visual)

    def write(self, folder: Path) -> None:
        """Writes the six tables into `folder` (which exists), in the published format, without their defects."""
        for split, name in WEAK_FILES.items():
            write_weak(folder / name, self.weak[split])
        write_weak(folder / FULL_FILE, {k: v for split in SPLITS for k, v in self.weak[split].items()})
        write_dense(folder / DENSE_FILES["audio"], self.audio)
        write_dense(folder / DENSE_FILES["visual"], self.visual)

    def _labels(self, key: str) -> tuple[int, ...]:
        for videos in self.weak.values():
            if key in videos:
                return videos[key]
        raise Refusal(f"Every video needs a row in a weak table, but {key!r} has none: add it or leave the video out.")


def fill(spans: Mapping[str, Iterable[Span]], keys: Sequence[str]) -> Bool[np.ndarray, "video category second"]:
    """Spans as a boolean parse of each key, overlaps joined, cut to the seconds that the key says the video has.

    A key without spans is all False.
    """
    parse = np.zeros((len(keys), len(CATEGORIES), SECONDS), dtype=bool)
    for row, key in enumerate(keys):
        for category, onset, offset in spans.get(key, ()):
            parse[row, category, onset : min(offset, seconds_of(key))] = True
    return parse


def spans_of(parse: Bool[np.ndarray, "category second"]) -> tuple[Span, ...]:
    """The events of a parse, by category and onset: what `fill` makes it from."""
    edges = np.diff(np.pad(parse.astype(np.int8), ((0, 0), (1, 1))), axis=1)
    starts, ends = np.argwhere(edges == 1).tolist(), np.argwhere(edges == -1).tolist()
    return tuple(Span(category, onset, offset) for (category, onset), (_, offset) in zip(starts, ends, strict=True))


def _check_splits(folder: Path, weak: Mapping[str, Mapping[str, tuple[int, ...]]], full: Mapping) -> None:
    """The splits share no video and agree with the full table wherever that names their videos too."""
    seen: dict[str, str] = {}
    for split, videos in weak.items():
        for key, labels in videos.items():
            place = f"{folder / WEAK_FILES[split]} names {key!r}"
            if key in seen:
                raise Refusal(f"A video is in one split, but {place}, as does {WEAK_FILES[seen[key]]}: remove one row.")
            if full.get(key, labels) != labels:
                raise Refusal(f"{place} with other categories than {FULL_FILE}: correct the row that is wrong.")
            seen[key] = split
