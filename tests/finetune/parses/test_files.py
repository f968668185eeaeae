"""Parses and clips are joined by key into files, in the order of extraction; what does not fit together is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.parses.files import ParsedFiles
from launch.refusal import Refusal

CLIPS = {
    "b_0_10": {"file": "/v/b.mp4", "start": 0, "end": 10, "seconds": 14.2, "notes": ["One.", "Two."]},
    "b_10_14.2": {"file": "/v/b.mp4", "start": 10, "end": 14.2, "seconds": 14.2, "notes": ["One."]},
    "a_30_40": {"file": "/v/deep/a.mkv", "start": 0, "end": 10, "seconds": None, "notes": []},
    "bad_0_10": {"file": "/v/bad.mp4", "start": 0, "end": 10, "seconds": 10, "notes": []},
}


def write(folder: Path, clips: dict[str, Any], keys: list[str]) -> tuple[Path, Path]:
    features, parses = folder / "features", folder / "parses"
    features.mkdir()
    parses.mkdir()
    (features / "clips.json").write_text(json.dumps({"clips": clips}))
    for key in keys:
        (parses / f"{key}.json").write_text(json.dumps({"key": key, "seconds": 10, "events": [], "probabilities": {}}))
    (parses / "parses.json").write_text(json.dumps({"parses": {key: f"{key}.json" for key in keys}}))
    return features, parses


def test_clips_become_files_in_the_order_of_extraction(tmp_path: Path) -> None:
    found = ParsedFiles(*write(tmp_path, CLIPS, ["a_30_40", "b_10_14.2", "b_0_10"]), None)
    assert len(found) == 2  # no parse, no file
    first, second = found
    assert (first.name, first.file, first.seconds) == ("b", "/v/b.mp4", 14.2)
    assert [(clip.key, clip.start, clip.end) for clip in first.clips] == [("b_0_10", 0, 10), ("b_10_14.2", 10, 14.2)]
    assert first.notes == ("One.", "Two.")
    assert (second.name, second.file, second.seconds) == ("a", "/v/deep/a.mkv", 10)


def test_a_parse_of_a_clip_that_was_not_extracted_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"'c_0_10' in .* is not in .*--replace True"):
        ParsedFiles(*write(tmp_path, CLIPS, ["a_30_40", "c_0_10"]), None)


@pytest.mark.parametrize("content", ["", "{", "[1, 2]"])
def test_a_file_that_is_not_whole_is_refused(tmp_path: Path, content: str) -> None:
    features, parses = write(tmp_path, CLIPS, ["a_30_40"])
    (parses / "a_30_40.json").write_text(content)
    with pytest.raises(Refusal, match=r"must be whole, but .*a_30_40\.json"):
        list(ParsedFiles(features, parses, None))
