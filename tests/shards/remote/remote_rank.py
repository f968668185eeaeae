"""A rank that reads a shard set below a URL: prints one line a step, with a digest of the part it read."""

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

from shards.loader import Part, Parts
from shards.order import Order
from shards.read import ReadSettings, Shards

WINDOW, BATCH, NAMES = 3, 8, ("resnet152", "vggish")


def parts_of(shards: Shards, rank: int, size: int) -> Parts:
    """One rank's parts, in an order that is the same for every reader of the set."""
    order = Order(shards.manifest.digest, shards.manifest.counts, BATCH, seed=7, window=WINDOW)
    return Parts(shards, order, NAMES, np.arange(len(shards)), rank, size)


def digest(part: Part) -> str:
    """What was read, bit for bit."""
    whole = hashlib.sha256(part.places.tobytes())
    for name in NAMES:
        whole.update(part.features[name].numpy().tobytes())
    return whole.hexdigest()


def main() -> None:
    """Reads the steps that its argument names."""
    plan = json.loads(sys.argv[1])
    shards = Shards.open(plan["url"], ReadSettings(cache=Path(plan["cache"]), connections=2), WINDOW)
    parts = parts_of(shards, plan["rank"], plan["size"])
    for part in parts.between(plan["start"], plan["stop"], plan["workers"]):
        print(part.step, digest(part), flush=True)


if __name__ == "__main__":
    main()
