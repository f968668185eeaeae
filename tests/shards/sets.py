"""Small shard sets for tests: whole ones, and tars that no careful writer would make."""

import io
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path

import numpy as np
from safetensors.numpy import save

from launch.digest import sha256_file
from shards.manifest import Manifest, Shard
from shards.read import Shards
from shards.schema import Feature, Video, stem_of
from shards.tars.index import index_name
from shards.write import Writer, open_shard

FEATURES = (Feature("vggish", 4, "raw", "test"), Feature("resnet152", 6, source="test"))
KEYS = ("-Ab_0_10", "AP0061o0Nvk_101.8_111.8", "50%_1_11", "_x_0_10", "é_0_10")
LINK = tarfile.SYMTYPE


def video(key: str, seed: int = 0) -> Video:
    """A video of seeded features, float32."""
    generator = np.random.default_rng(seed)
    return Video(key, {each.name: generator.random((10, each.width), dtype=np.float32) for each in FEATURES})


def write(folder: Path, keys: tuple[str, ...] = KEYS, videos_per_shard: int = 2) -> Shards:
    """A set of these keys; the features of each are seeded by its place."""
    with Writer(folder, FEATURES, {"stage": "test"}, videos_per_shard) as writer:
        for seed, key in enumerate(keys):
            writer.add(video(key, seed))
    return Shards.open(folder)


def write_shard(path: Path, features: Mapping[str, Feature], videos: Iterable[Video]) -> Shard:
    """Writes videos as one tar with its index; what the manifest says of it."""
    with open_shard(path, features) as writer:
        for each in videos:
            writer.add(each)
    assert writer.shard is not None
    return writer.shard


def payload(key: str) -> bytes:
    """The bytes of a member as the writer makes them."""
    return save({name: array.astype(np.float16) for name, array in video(key).features.items()})


def member(key: str) -> tuple[str, bytes]:
    """The name and bytes of a good member."""
    return f"{stem_of(key)}.safetensors", payload(key)


def tar(path: Path, entries: Iterable[tuple[str, bytes] | tarfile.TarInfo]) -> None:
    """A tar of files (name, bytes) and of anything else a header can say."""
    with tarfile.open(path, "w") as file:
        for entry in entries:
            if isinstance(entry, tarfile.TarInfo):
                file.addfile(entry)
            else:
                info = tarfile.TarInfo(entry[0])
                info.size = len(entry[1])
                file.addfile(info, io.BytesIO(entry[1]))


def entry(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    """A header of another kind than a plain file's."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def sealed(folder: Path, videos: int | None = None) -> None:
    """Makes the manifest agree with the first tar as it is now, as a careless writer would, and drops its index."""
    found = Manifest.read(folder)
    path = folder / found.shards[0].file
    count = found.shards[0].videos if videos is None else videos
    first = Shard(path.name, count, path.stat().st_size, sha256_file(path))
    Manifest(found.features, (first, *found.shards[1:]), found.source).write(folder)
    (folder / index_name(path.name)).unlink(missing_ok=True)


def overwrite(path: Path, start: int, content: bytes) -> None:
    """Replaces bytes in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[start : start + len(content)] = content
    path.write_bytes(data)
