"""The folder that `predict` writes: a parse and label files a video, timelines of the first, and an index of all."""

import json
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from finetune.figures.timeline import timeline_figure
from finetune.parses.audacity import SUFFIX as TRACK
from finetune.parses.audacity import audacity_text
from finetune.parses.elan import SUFFIX as DOCUMENT
from finetune.parses.elan import elan_xml
from finetune.parses.events import LANES, Event, VideoParse, in_lane
from shards.schema import stem_of

INDEX = "parses.json"
LONGEST = 180
"""Bytes of a file's name without suffixes; systems allow 255 with them."""


class ParseFolder:
    """A folder of parses in the making."""

    def __init__(self, folder: Path, labels: Sequence[str], pictures: int, warnings: Sequence[str] = ()) -> None:
        self.folder, self.labels, self.pictures, self.warnings = folder, labels, pictures, warnings
        self.files: dict[str, str] = {}
        """Key → its parse, relative to the folder."""
        self.events = 0
        self.drawn: list[Path] = []
        for name in ("parses", *labels, *(["timelines"] if pictures else [])):
            (folder / name).mkdir()

    def add(self, parse: VideoParse, truth: Sequence[Event] | None) -> None:
        """Writes a video's parse, its label files, and its picture if it is one of the first."""
        name = file_name(parse.key)
        file = self.folder / "parses" / f"{name}.json"
        content = parse.content() | ({"warnings": list(self.warnings)} if self.warnings else {})
        file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        if "audacity" in self.labels:
            for lane in LANES:
                (self.folder / "audacity" / f"{name}.{lane}{TRACK}").write_text(
                    audacity_text(in_lane(parse.events, lane))
                )
        if "elan" in self.labels:
            (self.folder / "elan" / f"{name}{DOCUMENT}").write_bytes(elan_xml(parse.events))
        if len(self.drawn) < self.pictures:
            self.drawn.append(self.folder / "timelines" / f"{name}.png")
            said = in_short(self.warnings)
            timeline_figure(parse, truth, warning=said).savefig(self.drawn[-1], dpi=130)
        self.files[parse.key] = str(file.relative_to(self.folder))
        self.events += len(parse.events)

    def finish(self, told: Mapping[str, Any]) -> None:
        """Writes the index: what all parses have in common, and the file of each."""
        warnings = {"warnings": list(self.warnings)} if self.warnings else {}
        content = {**told, **warnings, "videos": len(self.files), "parses": self.files}
        (self.folder / INDEX).write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def in_short(warnings: Sequence[str]) -> str:
    """What a picture, which has no room for sentences, says of all warnings: how each begins."""
    return ", ".join(warning.partition(":")[0] for warning in warnings)


def file_name(key: str) -> str:
    """The name of a video's files without suffix: its stem, as in shards; one too long ends in a digest of the key.

    >>> file_name("AP0061o0Nvk_101.8_111.8")
    'AP0061o0Nvk_101%2E8_111%2E8'
    """
    return _short(stem_of(key), key)


def folder_name(name: str) -> str:
    """The name of a file's folder: its own, where that hides nothing and every system takes it; all have their own.

    >>> folder_name("my.holiday.v2"), folder_name(".hidden. ")
    ('my.holiday.v2', '%2Ehidden%2E%20')
    """
    return _short(_UNFIT.sub(lambda found: f"%{ord(found[0]):02X}", name), name)


_UNFIT = re.compile(r"%(?=2[05E])|^\.|[. ](?=[. ]*\Z)")
"""A dot that hides, dots and spaces at the end, which Windows drops, and what would look like these once escaped."""


def _short(stem: str, key: str) -> str:
    if len(stem.encode()) <= LONGEST:
        return stem
    return stem.encode()[: LONGEST - 17].decode(errors="ignore") + "~" + sha256(key.encode()).hexdigest()[:16]
