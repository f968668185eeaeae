"""Features that make many small shards, and `pack` run on them: to be stopped halfway and to go on."""

from pathlib import Path

import numpy as np

from launch.tracking import Tracking
from shards import pack

VIDEOS, PER_SHARD = 450, 3
SHARDS = VIDEOS // PER_SHARD


def plant(feats: Path, videos: int) -> Path:
    """Folders of two features of so many videos."""
    generator = np.random.default_rng(0)
    for name, width in (("clap", 8), ("i3d", 16)):
        (feats / name).mkdir(parents=True)
        for number in range(videos):
            np.save(feats / name / f"video{number:04d}.npy", generator.random((10, width), dtype=np.float32))
    return feats


def run(feats: Path, out: Path, runs: Path, **changes: object) -> None:
    """Packs the features into `out` by one process, with some settings changed."""
    settings = {"features": feats, "out": out, "processes": 1, "videos_per_shard": PER_SHARD} | changes
    pack.main(pack.Config(**settings, tracking=Tracking(root=runs)))
