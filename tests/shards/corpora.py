"""A corpus in LLP's layout for the tests of `pack`, and the stage run on it."""

from pathlib import Path

import numpy as np

from launch.tracking import Tracking
from shards import pack
from shards.labels import Tables

WIDTHS = {"vggish": (10, 128), "res152": (80, 2048), "r2plus1d_18": (10, 512)}
SPLIT_KEYS = {
    "train": ("aaaaaaaaaaa_0_10", "-bbbbbbbbbb_5.5_15.5"),
    "validation": ("ccccccccccc_30_40",),
    "test": ("_dddddddddd_1_11",),
}


def write_corpus(folder: Path) -> Path:
    """A corpus of four videos in LLP's layout: `feats/` and `tables/`."""
    generator = np.random.default_rng(0)
    for name, shape in WIDTHS.items():
        (folder / "feats" / name).mkdir(parents=True)
        for keys in SPLIT_KEYS.values():
            for key in keys:
                array = generator.random(shape, dtype=np.float32)
                np.save(folder / "feats" / name / f"{key.rsplit('_', 2)[0]}.npy", array)
    (folder / "tables").mkdir()
    weak = {split: dict.fromkeys(keys, (0, 3)) for split, keys in SPLIT_KEYS.items()}
    Tables(weak, {}, {}).write(folder / "tables")
    return folder


def run(corpus: Path, runs: Path, **changes: object) -> None:
    """Packs the corpus into `out` beside it, with some settings changed."""
    settings = {
        "features": corpus / "feats",
        "tables": corpus / "tables",
        "out": corpus / "out",
        "processes": 1,
    } | changes
    pack.main(pack.Config(**settings, tracking=Tracking(root=runs)))
