"""What a page plays: a small copy of the video inside the page, or a link to the file where that would be too much."""

import os
import tempfile
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

from pydantic import Field

from finetune.page.page import Played
from launch.refusal import Refusal
from launch.settings import Settings
from shards.extract.making.failures import printable


class PageSettings(Settings):
    """What a page may weigh."""

    seconds: float = Field(600, ge=0, description="files longer than this are linked from the page, not copied into it")
    mebibytes: float = Field(24, ge=0, description="copies larger than this are linked as well")


def played_of(file: Path, folder: Path, settings: PageSettings, max_pixels: int) -> Played:
    """What the page in `folder` plays of a file, with a sentence about it."""
    from shards.extract.decoding.opening import open_decoder
    from shards.extract.filming.preview import write_preview
    from shards.extract.media import examine

    try:
        media = examine(file, max_pixels)
        if media.seconds > settings.seconds:
            return _linked(file, folder, f"it is longer than {settings.seconds:g} seconds")
        with tempfile.TemporaryDirectory() as work:
            copy = Path(work) / "copy.mp4"
            write_preview(media, open_decoder("pyav", max_pixels), copy, max_pixels)
            if copy.stat().st_size > settings.mebibytes * 2**20:
                return _linked(file, folder, f"a copy of it has more than {settings.mebibytes:g} MiB")
            source = f"data:video/mp4;base64,{b64encode(copy.read_bytes()).decode()}"
    except (Refusal, OSError, ValueError) as error:
        return Played("none", note=printable(f"Nothing is played: a copy of {file.name} could not be made ({error})."))
    return Played("embedded", source, f"What plays is a small copy inside this page; the file itself is {file.name}.")


def _linked(file: Path, folder: Path, reason: str) -> Played:
    """A link that holds as long as page and file lie as they do."""
    source = quote(os.fsencode(os.path.relpath(file, folder)))
    return Played(
        "linked", source, f"What plays is {file.name} from its own place, which is not in this page: {reason}."
    )
