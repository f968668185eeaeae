"""Reads an order as the ranks of a world, each with its loader processes, and writes down what came; made to be killed.

    python -m tests.shards.ordered_reader LOCATION OUT --ranks 3 --workers 2 --start 0 --stop 80 …

Rank r appends one line a step to OUT/r.txt: the step, and a digest of key and bytes for each video of its part.
"""

import argparse
import hashlib
import multiprocessing
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from shards.groups import Groups
from shards.loader import Part, Parts
from shards.order import Order
from shards.read import ReadSettings, Shards


def order_of(shards: Shards, global_batch: int, window: int, groups: Path | None) -> Order:
    """The order that all readers of a trial agree on; with groups, three of a kind are kept together."""
    read = Groups.read(groups, len(shards), per_group=3) if groups else None
    return Order(shards.manifest.digest, shards.manifest.counts, global_batch, 5, window, read)


def digest(key: str, features: Mapping[str, np.ndarray]) -> str:
    """A digest of a video's key and of the bytes of its features, in the order of their names."""
    found = hashlib.sha256(key.encode())
    for name in sorted(features):
        found.update(features[name].tobytes())
    return found.hexdigest()[:16]


def digests(part: Part, shards: Shards) -> list[str]:
    """The digest of each video of a part."""
    arrays = {name: tensor.numpy() for name, tensor in part.features.items()}
    return [
        digest(shards.keys[place], {name: array[row] for name, array in arrays.items()})
        for row, place in enumerate(part.places)
    ]


def read(arguments: argparse.Namespace, rank: int) -> None:
    """One rank: a line a step, appended whole."""
    shards = Shards.open(arguments.location, ReadSettings(cache=arguments.cache), arguments.window)
    order = order_of(shards, arguments.global_batch, arguments.window, arguments.groups)
    every = np.arange(len(shards))
    parts = Parts(shards, order, tuple(shards.manifest.features), every, rank, arguments.ranks)
    file = os.open(arguments.out / f"{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    for part in parts.between(arguments.start, arguments.stop, arguments.workers):
        os.write(file, f"{part.step} {' '.join(digests(part, shards))}\n".encode())
        time.sleep(arguments.pause)
    time.sleep(arguments.stay)


def main(words: list[str]) -> int:
    """Forks the ranks, and ends when they have."""
    parser = argparse.ArgumentParser()
    parser.add_argument("location")
    parser.add_argument("out", type=Path)
    for name in ("ranks", "workers", "start", "stop", "global-batch", "window"):
        parser.add_argument(f"--{name}", type=int, required=True)
    parser.add_argument("--groups", type=Path)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--pause", type=float, default=0.0, help="seconds after each step")
    parser.add_argument("--stay", type=float, default=0.0, help="seconds after the last")
    arguments = parser.parse_args(words)
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=read, args=(arguments, rank)) for rank in range(arguments.ranks)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join()
    return max(abs(process.exitcode or 0) for process in ranks)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
