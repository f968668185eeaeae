"""Shards fetched from a URL into a folder of this host, which all its ranks and loader workers share.

A host holds at most W + 1 shards of each set that is in use, those being fetched included; W is the largest window of
the set's readers. Shards of a set that nobody reads any more stay until a reader takes a seat at another set, and are
then removed. A reader says what it needs now and how far it is (`prepare`). The reader that is least far leads: its
shards keep their places, so what is slow is never robbed by what is fast, and each shard is fetched once for all
readers of a window.

Nobody can wait for ever. The leader needs at most a window of places and never waits for one, except for a fetch that
is under way and ends. Every other reader can use what the leader does not need, which is at least one place: at once
if its shard is needed by nobody, after some patience in any case. A reader that has neither read nor waited for that
long (its queue is full, it stands in a collective, it was stopped) leads no more until it reads again; whoever waits
never looks idle, so among readers that wait for each other one always leads. A dead reader's locks are gone with it.

So that nobody waits in vain, a reader says what its *next* batch needs as soon as it has read one.

What an earlier run left is checked against the manifest's sha256 when it is first used, as is what comes by the
network, and fetched anew if it was altered. During a run a checked copy is believed while its inode, its size and its
time of change stay.
"""

import errno
import hashlib
import os
import weakref
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
    """The shards below a URL, in a folder named by the URL and the manifest's digest. It can be handed to a process.

    A process takes a seat at its first use, and gives it back, calling its fetches off, when it drops this object.
    """

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
        self.window = most - 1
        self.at_once = min(self.window, 64)  # a process may have few files open
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

        Inside, this reader does not look idle, so what it said it needs is not taken as left over. The descriptor stays
        good when the shard makes way for another all the same; the path may not.
        """
        with _disk(self.folder):
            here = self._here()
            descriptor = here.open(number)
        try:
            with here.seat.reading(self.patience / 4):
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
            weakref.finalize(self, self._share.close)
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


_REMEDIES = {
    "free some space there, or name another cache folder": (errno.ENOSPC, errno.EDQUOT),
    "make it a folder that can be written to, or name another cache folder": (
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENOTDIR,
        errno.EEXIST,
    ),
    "allow more open files (ulimit -n), or read with a smaller window": (errno.EMFILE, errno.ENFILE),
    "leave the cache alone while it is read, and start again": (errno.ENOENT,),
}


@contextmanager
def _disk(folder: Path) -> Iterator[None]:
    """Turns what the system says into a Refusal that names the folder."""
    try:
        yield
    except OSError as error:
        remedy = next(
            (words for words, numbers in _REMEDIES.items() if error.errno in numbers),
            "look after that disk, or name another cache folder",
        )
        raise Refusal(
            f"Fetched shards need a folder to be kept in, but the cache '{folder}' gives '{error.strerror}': {remedy}."
        ) from None
