"""Rendered files as they were last read and approved; REWRITE_GOLDEN=1 writes them anew, to be read again."""

import os
from pathlib import Path

FOLDER = Path(__file__).with_name("golden")


def approved(name: str, text: str) -> str:
    """The file's content, which is what `text` has to be."""
    if os.environ.get("REWRITE_GOLDEN"):
        (FOLDER / name).write_text(text)
    return (FOLDER / name).read_text()
