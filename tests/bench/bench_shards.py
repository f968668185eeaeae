"""make bench-shards

How many videos a second one process reads from shards, beside stock WebDataset and beside the plain reading of the
same bytes: 4,000 videos of the standard features, page cache hot, five rounds in turn, medians. The last line is JSON.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import numpy as np

os.environ["WDS_SECURE"] = "0"  # else stock webdataset opens no file; ours never lets it open or decode one
import webdataset as wds

from shards.read import Shards
from shards.schema import Feature, Video
from shards.write import Writer

FEATURES = (Feature("vggish", 128, "raw"), Feature("resnet152", 2048), Feature("r2plus1d_18", 512))
NAMES = [feature.name for feature in FEATURES]
BATCH, ROUNDS, BUFFER = 256, 5, 1 << 20


def videos(count: int) -> Iterator[Video]:
    """Videos of random features; float16 noise costs what real features cost."""
    generator = np.random.default_rng(0)
    for number in range(count):
        arrays = {each.name: generator.random((10, each.width), np.float32).astype(np.float16) for each in FEATURES}
        yield Video(f"video{number:06d}_0_10", arrays)


def write(folder: Path, count: int) -> None:
    """A shard set of so many videos."""
    with Writer(folder / "set", FEATURES, {"stage": "benchmark"}) as writer:
        for video in videos(count):
            writer.add(video)


def write_stock(folder: Path, count: int) -> None:
    """The same videos as a WebDataset user stores them: three .npy members and a .json each."""
    with wds.ShardWriter(f"{folder}/stock-%06d.tar", maxcount=1000, verbose=0) as writer:
        for video in videos(count):
            members = {f"{name}.npy": array for name, array in video.features.items()}
            writer.write({"__key__": video.key, "json": {"key": video.key}, **members})


def stock(folder: Path) -> int:
    """Decodes every sample as its documentation shows."""
    tars = sorted(str(path) for path in folder.glob("stock-*.tar"))
    return sum(1 for sample in wds.WebDataset(tars, shardshuffle=False).decode() if sample["vggish.npy"].shape)


@cache
def arrays() -> dict[str, np.ndarray]:
    """Where batches are collated: one set of arrays, in use all the time, as pinned ones are."""
    return {each.name: np.zeros((BATCH, 10, each.width), np.float16) for each in FEATURES}


def indexed(folder: Path) -> int:
    """Collated batches in a random order, through a set that was opened just now: every digest is checked."""
    shards, out = Shards.open(folder / "set"), arrays()
    order = np.random.default_rng(1).permutation(len(shards))
    parts = np.split(order, range(BATCH, len(order), BATCH))
    return sum(len(shards.batch(part, NAMES, out).features["vggish"]) for part in parts)


def streamed(folder: Path) -> int:
    """Collated batches in stored order, grouped by webdataset: every digest is checked."""
    shards, out, done = Shards.open(folder / "set"), arrays(), 0
    for done, video in enumerate(shards.stream(), start=1):
        for name in NAMES:
            out[name][(done - 1) % BATCH] = video.features[name]
    return done


def read_limit(folder: Path) -> int:
    """Reads the bytes of the same shards one after the other into one buffer."""
    shards, buffer = Shards.open(folder / "set"), bytearray(BUFFER)
    for shard in shards.manifest.shards:
        with (folder / "set" / shard.file).open("rb", buffering=0) as file:
            while file.readinto(buffer):
                pass
    return len(shards)


SIDES: dict[str, Callable[[Path], int]] = {
    "stock": stock,
    "indexed": indexed,
    "stream": streamed,
    "read_limit": read_limit,
}


def rate(side: str, folder: Path) -> float:
    """Videos a second, over the whole set once."""
    start = time.perf_counter()
    return SIDES[side](folder) / (time.perf_counter() - start)


def peak_mib(folder: Path) -> float:
    """The peak memory of a fresh process that reads the whole set both ways, in MiB."""
    command = [sys.executable, "-m", "tests.bench.bench_shards", "--read", str(folder)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def main() -> None:
    """Measures and prints; with `--read` only reads a set and prints the peak memory of doing so."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--read", type=Path, help="only read the set in this folder, and print the peak memory")
    asked = parser.parse_args()
    if asked.read:
        indexed(asked.read), streamed(asked.read)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as name:
        folders = {count: Path(name) / str(count) for count in (4000, 8000)}
        for count, folder in folders.items():
            folder.mkdir()
            write(folder, count)
        write_stock(folders[4000], 4000)
        rounds = [{side: rate(side, folders[4000]) for side in SIDES} for _ in range(ROUNDS)]
        found = {side: statistics.median(each[side] for each in rounds) for side in SIDES}
        result = {f"{side}_videos_per_s": round(value) for side, value in found.items()}
        result |= {
            "indexed_ratio": round(found["indexed"] / found["stock"], 1),
            "stream_ratio": round(found["stream"] / found["stock"], 1),
            "indexed_of_read_limit": round(found["indexed"] / found["read_limit"], 2),
            "peak_mib": round(peak_mib(folders[4000])),
            "peak_mib_8000": round(peak_mib(folders[8000])),
        }
        print(json.dumps(result))


if __name__ == "__main__":
    main()
