"""The files that were parsed, each out of its clips: what `extract` says of them joined with what `predict` wrote."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from finetune.parses.events import true_events
from finetune.parses.folder import INDEX
from finetune.parses.whole import ParsedClip, Whole
from launch.refusal import Refusal
from shards.labels import Tables

CLIPS = "clips.json"
"""Where `extract` says which clip lies where in which file."""


class ParsedFiles:
    """The files that have a parse, in the order of extraction; each is read when its turn comes."""

    def __init__(self, features: Path, parses: Path, tables: Tables | None) -> None:
        """Reads the lists. Raises Refusal when the two folders do not tell of the same clips."""
        self._parses, self._tables = parses, tables
        self._clips, self._index = _read(features / CLIPS)["clips"], _read(parses / INDEX)["parses"]
        foreign = next((key for key in self._index if key not in self._clips), None)
        if foreign is not None:
            raise Refusal(
                f"Every parse must be of a clip that was extracted, but '{foreign}' in '{parses}' is not in "
                f"'{features}': parse again with --replace True."
            )
        self._keys = dict[str, list[str]]()
        for key, clip in self._clips.items():
            if key in self._index:
                self._keys.setdefault(clip["file"], []).append(key)

    def __len__(self) -> int:
        return len(self._keys)

    def __iter__(self) -> Iterator[Whole]:
        for file, keys in self._keys.items():
            clips = sorted((self._clip(key) for key in keys), key=lambda clip: (clip.start, clip.end))
            lengths = [self._clips[key]["seconds"] or 0.0 for key in keys]
            seconds = max([*lengths, *(clip.end for clip in clips)])
            yield Whole(Path(file).stem, file, round(seconds, 3), tuple(clips))

    def _clip(self, key: str) -> ParsedClip:
        told, parse = self._clips[key], _read(self._parses / self._index[key])
        truth = true_events(self._tables, key) if self._tables else None
        return ParsedClip(key, told["start"], told["end"], parse, truth, tuple(told.get("notes", ())))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(
            f"What an earlier stage wrote must be whole, but '{path}' is not ({type(error).__name__}: {error}): "
            "delete its folder, and the same command makes it again."
        ) from None
