"""Writing a shard set: plain WebDataset tars, one `<stem>.safetensors` a video, and the manifest.

Bytes are reproducible: the same videos in the same order give the same sha256, on every machine.
"""

import io
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from safetensors.numpy import save

from launch.atomic import whole_folder
from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.manifest import Manifest, Shard
from shards.schema import Feature, Video, check_features, check_key, stem_of

SUFFIX = ".safetensors"


class Writer:
    """A shard set in the making; the folder appears at a clean end of the `with` block, and never half.

        with Writer(folder, features, source) as writer:
            writer.add(video)

    Videos are stored in the order they are added, `videos_per_shard` a tar. Raises Refusal for a bad key, a doubled
    key, a feature that is missing, of another shape or not finite, for a set without videos, and for a folder that
    already holds something (unless `replace`).
    """

    def __init__(
        self,
        folder: Path,
        features: Sequence[Feature],
        source: Mapping[str, Any],
        videos_per_shard: int = 1000,
        replace: bool = False,
    ) -> None:
        self._target, self._replace = folder, replace
        self._features = {feature.name: feature for feature in features}
        self._source, self._videos_per_shard = source, videos_per_shard
        self._keys: set[str] = set()
        self._shards: list[Shard] = []
        self._pending: list[tuple[str, bytes]] = []
        self._stack = ExitStack()
        self.manifest: Manifest | None = None
        """Set at a clean end."""

    def __enter__(self) -> "Writer":
        self._folder = self._stack.enter_context(whole_folder(self._target, self._replace))
        self._stack.push(self._finish)  # leaves first, so that a refusal in it takes the folder away
        return self

    def add(self, video: Video) -> None:
        """Appends one video, cast to the stored dtypes."""
        check_key(video.key)
        if video.key in self._keys:
            raise Refusal(f"A key must be unique in a shard set, but '{video.key}' was added twice: drop one of them.")
        cast = Video(video.key, {name: self._cast(name, array) for name, array in video.features.items()})
        check_features(cast, self._features)
        self._keys.add(video.key)
        arrays = {name: np.ascontiguousarray(cast.features[name]) for name in self._features}
        self._pending.append((stem_of(video.key) + SUFFIX, save(arrays)))
        if len(self._pending) == self._videos_per_shard:
            self._close_shard()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, trace)

    def _finish(self, kind: type[BaseException] | None, *details: object) -> None:
        if kind is not None:
            return
        if self._pending:
            self._close_shard()
        if not self._shards:
            raise Refusal(f"A shard set must hold at least one video, but none was found for '{self._target}'.")
        self.manifest = Manifest(self._features, tuple(self._shards), self._source)
        self.manifest.write(self._folder)

    def _cast(self, name: str, array: np.ndarray) -> np.ndarray:
        dtype = self._features[name].dtype if name in self._features else "float32"
        with np.errstate(over="ignore"):  # an overflow becomes an infinity, which check_features names
            return np.asarray(array).astype(dtype)

    def _close_shard(self) -> None:
        path = self._folder / f"{len(self._shards):06d}.tar"
        with tarfile.open(path, "w") as tar:
            for name, payload in self._pending:
                tar.addfile(_member(name, len(payload)), io.BytesIO(payload))
        self._shards.append(Shard(path.name, len(self._pending), path.stat().st_size, sha256_file(path)))
        self._pending = []


def _member(name: str, size: int) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = size, 0o644, 0
    return info
