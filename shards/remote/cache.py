"""Shards fetched from a URL into a folder of this host, which all its ranks and loader workers share.

The folder holds at most `most` shards, the ones being fetched included, and `most` is a window and one more. A reader
says what it needs now and how far it is (`prepare`). The reader that is least far leads: its shards keep their places,
so what is slow is never robbed by what is fast, and each shard is fetched once for all readers of a window.

Nobody can wait for ever. The leader needs at most a window of places and never waits for one, except for a fetch that
is under way and ends. Every other reader can use what the leader does not need, which is at least one place: at once
if its shard is needed by nobody, after some patience in any case. A reader that has neither read nor waited for that
long (its queue is full, it stands in a collective, it was stopped) leads no more until it reads again; whoever waits
never looks idle, so among readers that wait for each other one always leads. A dead reader's locks are gone with it.

So that nobody waits in vain, a reader says what its *next* batch needs as soon as it has read one.
"""

import errno
import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from launch.atomic import whole_file
from launch.refusal import Refusal
from shards.location import join
from shards.manifest import Manifest
from shards.remote.fetch import fetch_bytes
from shards.remote.share import PATIENCE, Share
from shards.tars.index import Index, index_name
from shards.tars.layout import Layout


class HostCache:
    """The shards below a URL, in a folder named by the URL and the manifest's digest. It can be handed to a process."""

    def __init__(
        self,
        location: str,
        manifest: Manifest,
        root: Path,
        most: int,
        tries: int,
        connections: int,
        patience: float = PATIENCE,
    ) -> None:
        self.location, self.manifest, self.tries, self.connections = location, manifest, tries, connections
        self.window = self.at_once = most - 1
        self.patience, self._root = patience, root
        name = hashlib.sha256(f"{location}\n{manifest.digest}".encode()).hexdigest()
        self.folder = root.expanduser().absolute() / name
        self._share: Share | None = None

    def __reduce__(self) -> tuple[object, ...]:
        settings = (self._root, self.window + 1, self.tries, self.connections, self.patience)
        return HostCache, (self.location, self.manifest, *settings)

    @contextmanager
    def opened(self, number: int) -> Iterator[tuple[int, Path]]:
        """A descriptor of a whole and checked shard, and its path; waits until it is fetched.

        The descriptor stays good when the shard makes way for another meanwhile; the path may not.
        """
        with _disk(self.folder):
            descriptor = self._here().open(number)
        try:
            yield descriptor, self.folder / self.manifest.shards[number].file
        finally:
            os.close(descriptor)

    def index(self, number: int) -> Index:
        """The offset index of a shard: fetched once if there is a good one beside it, else made of the shard."""
        shard = self.manifest.shards[number]
        with _disk(self.folder):
            self._here()
            path = self.folder / index_name(shard.file)
            found = Index.load(path, shard) if path.exists() else self._fetched_index(number, path)
            while found is None:
                with self.opened(number) as (_, tar), suppress(FileNotFoundError):  # it may have made way meanwhile
                    found = Index.build(tar, shard, Layout.of(self.manifest.features).most)
                    found.save(path, shard)
        return found

    def prepare(self, numbers: Collection[int], position: int) -> None:
        """Says which shards (at most a window) this reader needs from now on, and how far in the order it is.

        They are fetched in the background, in this order, as places get free. None are needed: `((), 0)`.
        """
        with _disk(self.folder):
            self._here().prepare(tuple(numbers), position)

    def close(self) -> None:
        """Gives up this process's seat and calls off its fetches."""
        if self._share is not None and self._share.process == os.getpid():
            self._share.close()
        self._share = None

    def _here(self) -> "Share":
        """This process's share; one that came with a fork is left alone."""
        if self._share is None or self._share.process != os.getpid():
            self._share = Share(
                self.folder,
                self.location,
                self.manifest.shards,
                self.window,
                self.tries,
                self.connections,
                self.patience,
            )
        return self._share

    def _fetched_index(self, number: int, path: Path) -> Index | None:
        shard = self.manifest.shards[number]
        try:
            content = fetch_bytes(join(self.location, path.name), self.tries, (1 << 20) + 1024 * shard.videos)
            with whole_file(path) as temporary:
                temporary.write_bytes(content)
            return Index.load(path, shard)
        except Refusal:
            path.unlink(missing_ok=True)  # it does not fit, and the shard itself tells better
            return None


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turns what the disk says into a Refusal that names the folder."""
    try:
        yield
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        remedy = "free some space there" if full else "make it a folder that can be written to"
        raise Refusal(
            f"Fetched shards must find room in the cache, but '{folder}' gives '{error.strerror}': {remedy}, or name "
            "another cache folder."
        ) from None
