"""The folders that `parse` writes: one a file, with its parse, label files, a timeline, and a page if one is wanted."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from finetune.figures.timeline import timeline_figure
from finetune.page.page import Made, page
from finetune.page.playing import PageSettings, played_of
from finetune.parses.audacity import SUFFIX as TRACK
from finetune.parses.audacity import audacity_text
from finetune.parses.elan import SUFFIX as DOCUMENT
from finetune.parses.elan import elan_xml
from finetune.parses.events import LANES, VideoParse, in_lane
from finetune.parses.folder import folder_name, in_short
from finetune.parses.whole import Whole

INDEX, PARSE, PAGE, TIMELINE = "videos.json", "parse.json", "page.html", "timeline.png"
NO_TEXT = re.compile("[\ud800-\udfff]")
"""What stands for bytes of a path that are no UTF-8: JSON has an escape for it."""
DRAWN = 3600.0
"""Seconds of the longest file whose timeline is drawn as a picture; of a longer one it would be a blur."""


@dataclass(frozen=True)
class Pages:
    """How pages are made."""

    settings: PageSettings
    max_pixels: int


@dataclass
class Report:
    """A folder of parsed files in the making."""

    folder: Path
    place: Path
    """Where the folder will lie: what pages link to is told from there."""
    made: Made
    pages: Pages | None
    """None: no pages."""
    videos: dict[str, Any] = field(default_factory=dict)
    events: int = 0
    known: int = 0
    """Files of which the truth is known, at least in parts."""

    def add(self, whole: Whole) -> None:
        """Writes all of one file."""
        name = folder_name(whole.name)
        home = self.folder / name
        home.mkdir()
        content = {**whole.content(), "made": dict(self.made.facts), "warnings": list(self.made.warnings)}
        _write(home / PARSE, content)
        for lane in LANES:
            (home / f"{name}.{lane}{TRACK}").write_text(audacity_text(in_lane(whole.events, lane)))
        (home / f"{name}{DOCUMENT}").write_bytes(elan_xml(whole.events, Path(whole.file)))
        if whole.seconds <= DRAWN:
            shown = VideoParse(whole.name, max(1, round(whole.seconds + 0.499)), whole.events, {})
            timeline_figure(shown, whole.truth, whole.blank, in_short(self.made.warnings)).savefig(
                home / TIMELINE, dpi=130
            )
        if self.pages:
            played = played_of(Path(whole.file), self.place / name, self.pages.settings, self.pages.max_pixels)
            (home / PAGE).write_text(page(whole, self.made, played), encoding="utf-8")
        told = {"file": whole.file, "folder": name, "seconds": whole.seconds, "events": len(whole.events)}
        self.videos[whole.name] = told | ({"without": list(whole.silent)} if whole.silent else {})
        self.events += len(whole.events)
        self.known += whole.truth is not None

    def finish(self) -> None:
        """Writes the index."""
        told = {"made": dict(self.made.facts), "warnings": list(self.made.warnings)}
        _write(self.folder / INDEX, {**told, "videos": self.videos})


def _write(path: Path, content: Mapping[str, Any]) -> None:
    text = json.dumps(content, indent=1, ensure_ascii=False)
    text = NO_TEXT.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    path.write_text(f"{text}\n", encoding="utf-8")
