"""Writing a shard set: plain WebDataset tars, one `<stem>.safetensors` a video, their offset indexes, the manifest.

Bytes are reproducible: the same videos in the same order give the same sha256, on every machine.
"""

import io
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors.numpy import save

from launch.atomic import whole_file, whole_folder
from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.manifest import Manifest, Shard
from shards.schema import Feature, Video, check_distinct, check_features, check_key, stem_of
from shards.tars.index import Index, index_name, member_digest
from shards.tars.layout import SUFFIX


class ShardWriter:
    """One open tar; `add` appends a video, and nothing of it is kept but its place and digest."""

    def __init__(self, path: Path, features: Mapping[str, Feature], tar: tarfile.TarFile) -> None:
        self._path, self._features, self._tar = path, features, tar
        self._places: dict[str, tuple[int, int, bytes]] = {}
        self.shard: Shard | None = None
        """What the manifest says of it; set when it is finished."""

    def __len__(self) -> int:
        return len(self._places)

    def add(self, video: Video) -> None:
        """Appends one video, cast to the stored dtypes."""
        check_key(video.key)
        if video.key in self._places:
            raise Refusal(f"A key must be unique in a shard set, but '{video.key}' was added twice: drop one of them.")
        cast = Video(video.key, {name: self._cast(name, array) for name, array in video.features.items()})
        check_features(cast, self._features)
        payload = save({name: np.ascontiguousarray(cast.features[name]) for name in self._features})
        info = tarfile.TarInfo(stem_of(video.key) + SUFFIX)
        info.size, info.mode, info.mtime = len(payload), 0o644, 0
        self._tar.addfile(info, io.BytesIO(payload))
        padded = -(-len(payload) // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        self._places[video.key] = self._tar.offset - padded, len(payload), member_digest(payload)

    def finish(self, written: Path) -> None:
        """Writes the index of the tar whose bytes lie at `written`, once it is closed."""
        self.shard = Shard(self._path.name, len(self), written.stat().st_size, sha256_file(written))
        index = Index.of(list(self._places), *zip(*self._places.values(), strict=True))
        index.save(self._path.parent / index_name(self._path.name), self.shard)

    def _cast(self, name: str, array: np.ndarray) -> np.ndarray:
        dtype = self._features[name].dtype if name in self._features else "float32"
        with np.errstate(over="ignore"):  # an overflow becomes an infinity, which check_features names
            return np.asarray(array).astype(dtype)


@contextmanager
def open_shard(path: Path, features: Mapping[str, Feature]) -> Iterator[ShardWriter]:
    """A shard to add videos to; the tar and its index appear at a clean end, and never half.

    Raises Refusal for a bad key or one that comes twice, a feature that is missing, of another shape or not finite,
    and for a shard without videos.
    """
    with whole_file(path) as temporary:
        with tarfile.open(temporary, "w") as tar:
            writer = ShardWriter(path, features, tar)
            yield writer
        if not len(writer):
            raise Refusal(f"A shard must hold at least one video, but none was found for '{path}'.")
        writer.finish(temporary)


class Writer:
    """A shard set in the making; the folder appears at a clean end of the `with` block, and never half.

        with Writer(folder, features, source) as writer:
            writer.add(video)

    Videos are stored in the order they are added, `videos_per_shard` a tar. Raises Refusal as `open_shard` does, for a
    key that comes twice anywhere in the set, for features without sound names and widths of their own, and for a folder
    that already holds something (unless `replace`).
    """

    def __init__(
        self,
        folder: Path,
        features: Sequence[Feature],
        source: Mapping[str, Any],
        videos_per_shard: int = 1000,
        replace: bool = False,
    ) -> None:
        check_distinct(features)
        self._target, self._replace = folder, replace
        self._features = {feature.name: feature for feature in features}
        self._source, self._videos_per_shard = source, videos_per_shard
        self._keys: set[str] = set()
        self._shards: list[Shard] = []
        self._whole, self._open = ExitStack(), ExitStack()
        self._writer: ShardWriter | None = None
        self.manifest: Manifest | None = None
        """Set at a clean end."""

    def __enter__(self) -> "Writer":
        self._folder = self._whole.enter_context(whole_folder(self._target, self._replace))
        self._whole.push(self._finish)  # leaves first, so that a refusal in it takes the folder away
        return self

    def add(self, video: Video) -> None:
        """Appends one video, cast to the stored dtypes."""
        if video.key in self._keys:
            raise Refusal(f"A key must be unique in a shard set, but '{video.key}' was added twice: drop one of them.")
        if self._writer is None:
            path = self._folder / f"{len(self._shards):06d}.tar"
            self._writer = self._open.enter_context(open_shard(path, self._features))
        self._writer.add(video)
        self._keys.add(video.key)
        if len(self._writer) == self._videos_per_shard:
            self._close_shard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._whole.__exit__(kind, error, trace)

    def _finish(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._open.__exit__(kind, error, trace)
            return
        if self._writer is not None:
            self._close_shard()
        if not self._shards:
            raise Refusal(f"A shard set must hold at least one video, but none was found for '{self._target}'.")
        self.manifest = Manifest(self._features, tuple(self._shards), self._source)
        self.manifest.write(self._folder)

    def _close_shard(self) -> None:
        assert self._writer is not None
        self._open.close()
        assert self._writer.shard is not None, "set when it is closed"
        self._shards.append(self._writer.shard)
        self._writer = None
