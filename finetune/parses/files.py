"""The files that were parsed, each out of its clips: what `extract` says of them joined with what `predict` wrote."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from finetune.parses.events import true_events
from finetune.parses.folder import INDEX
from finetune.parses.whole import Clip, Whole
from launch.refusal import Refusal
from shards.labels import Tables

CLIPS = "clips.json"
"""Where `extract` says which clip lies where in which file."""


def whole_files(features: Path, parses: Path, tables: Tables | None) -> Iterator[Whole]:
    """Every file with a parse, in the order of extraction, one at a time.

    Raises Refusal when the two folders do not tell of the same clips.
    """
    clips, index = _read(features / CLIPS)["clips"], _read(parses / INDEX)["parses"]
    foreign = next((key for key in index if key not in clips), None)
    if foreign is not None:
        raise Refusal(
            f"Every parse must be of a clip that was extracted, but '{foreign}' in '{parses}' is not in '{features}': "
            "parse again with --replace True."
        )
    for file, keys in _by_file(clips, index).items():
        told = [clips[key] for key in keys]
        made = [_clip(key, each, _read(parses / index[key]), tables) for key, each in zip(keys, told, strict=True)]
        made.sort(key=lambda clip: (clip.start, clip.end))
        seconds = max([clip.end for clip in made] + [each["seconds"] for each in told if each["seconds"]])
        yield Whole(Path(file).stem, file, round(seconds, 3), tuple(made))


def _by_file(clips: Mapping[str, Any], index: Mapping[str, str]) -> dict[str, list[str]]:
    found = dict[str, list[str]]()
    for key, clip in clips.items():
        if key in index:
            found.setdefault(clip["file"], []).append(key)
    return found


def _clip(key: str, told: Mapping[str, Any], parse: Mapping[str, Any], tables: Tables | None) -> Clip:
    truth = true_events(tables, key) if tables else None
    return Clip(key, told["start"], told["end"], parse, truth, tuple(told.get("notes", ())))


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise Refusal(
            f"What an earlier stage wrote must be whole, but '{path}' is not ({type(error).__name__}: {error}): "
            "delete its folder, and the same command makes it again."
        ) from None
