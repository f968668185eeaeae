"""Every pair above the floor that a search came across, kept on disk: lists of k forget most of them.

They go into a file as they come (12 bytes each), so memory does not grow with them. Where everything is similar to
everything there are too many: beyond `MOST` the file is dropped, and who needs the pairs has to compare again.
"""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from jaxtyping import Bool, Int

from graph.forests.forest import Edges

MOST = 400_000_000
"""Pairs kept at most by one process for one modality: 4.5 GiB on disk."""
PAIR = np.dtype([("first", "<i4"), ("second", "<i4"), ("similarity", "<f4")])
BLOCK = 1 << 21
"""Pairs read at a time."""


class Pairs:
    """Pairs of places, in the order in which they came."""

    def __init__(self, path: Path | None) -> None:
        """Opens the file, made if need be, with what an earlier start left in it; without a path, one that nobody
        sees."""
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        self._file: IO[bytes] = TemporaryFile() if path is None else path.open("r+b")  # noqa: SIM115
        self.count = 0
        """Pairs kept so far; -1 once they were too many."""

    @property
    def dropped(self) -> bool:
        """Whether there were too many."""
        return self.count < 0

    def resume(self, count: int) -> bool:
        """Goes on after so many pairs of an earlier start; False where the file does not hold them."""
        if count >= 0 and self._file.seek(0, 2) < count * PAIR.itemsize:
            return False
        self._file.truncate(max(count, 0) * PAIR.itemsize)
        self._file.seek(0, 2)
        self.count = count
        return True

    def add(self, pairs: Edges) -> None:
        """Writes pairs down, unless they are too many by now."""
        if self.dropped:
            return
        rows = np.empty(len(pairs), PAIR)
        rows["first"], rows["second"], rows["similarity"] = pairs.first, pairs.second, pairs.similarity
        self._file.write(rows.tobytes())
        self.count += len(pairs)
        if self.count > MOST:
            self.resume(-1)

    def settle(self) -> None:
        """Hands everything to the system, so that a kill of this process loses nothing."""
        self._file.flush()

    def edges(self, snippets: Int[np.ndarray, " chosen"], barred: Bool[np.ndarray, " chosen"]) -> Iterator[Edges]:
        """All pairs in turn, as the snippets that stand at the places, less those with a barred end."""
        assert not self.dropped, "pairs that were too many are gone"
        self._file.flush()
        self._file.seek(0)
        while len(rows := np.frombuffer(self._file.read(BLOCK * PAIR.itemsize), PAIR)):
            kept = ~barred[rows["first"]] & ~barred[rows["second"]]
            rows = rows[kept]
            yield Edges(snippets[rows["first"]], snippets[rows["second"]], np.ascontiguousarray(rows["similarity"]))

    def close(self) -> None:
        """Closes the file; one without a name is gone then."""
        self._file.close()
