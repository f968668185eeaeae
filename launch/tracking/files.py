"""Copies of files that a store does not have yet: whoever hands one over may delete or change it at once."""

import shutil
from pathlib import Path
from uuid import uuid4


class Files:
    """A folder of copies."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

    def keep(self, file: Path) -> Path:
        """A copy of a file, or of a folder; on a full disk the thing itself, which may be gone when it is sent."""
        try:
            copy = self.room(file.name)
        except OSError:
            return file.absolute()
        try:
            shutil.copytree(file, copy) if file.is_dir() else shutil.copyfile(file, copy)
        except OSError:
            self.forget(copy)
            return file.absolute()
        return copy

    def room(self, name: str) -> Path:
        """Where a file of this name can be written; raises OSError if nowhere."""
        place = self._folder / uuid4().hex[:12]
        place.mkdir(parents=True)
        return place / name

    def forget(self, file: Path) -> None:
        """Deletes a copy; what is none stays."""
        if file.is_relative_to(self._folder):
            shutil.rmtree(file.parent, ignore_errors=True)

    def delete(self) -> None:
        """Deletes all of them."""
        shutil.rmtree(self._folder, ignore_errors=True)
