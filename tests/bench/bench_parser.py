"""make bench-parser

How fast HAN is trained with its published recipe (batch 16) on 10,000 planted videos, and how fast it is scored, on
CPU cores in float32: ours beside a plain side (`plain_parser`: a DataLoader over .npy files in LLP's layout, the
2048 → 512 layer on all 80 ResNet rows, torch's default Adam, videos evaluated one by one). Ours is the stage's own
loop, MLflow included, on shards that were read once. The sides take turns, so that what else the machine does falls on
both; a round is `--steps` steps (625 are an epoch), from which an epoch is computed. The last line is JSON:

- `videos`, `seconds_per_epoch`, `videos_per_s`, `plain_seconds_per_epoch`: medians over the rounds; `ratio`: the median
  of the rounds' own; `arithmetic_ratio`: what the products alone would give.
- `evaluation_s`, `plain_evaluation_s`: seconds for `evaluation_videos`, of which the plain side parses `--evaluated` a
  round, from the first that its reader has brought on; `evaluation_ratio`: likewise the median of the rounds' own.
- `share_of_limit`, `plain_share_of_limit`: the time that a step's products take at `product_gflop_per_s` (of plain
  products of 2048 × 2048 numbers, the best of every round), over the time of a step.
- `peak_mib`: of memory on our side, all videos in it and the shards' mapped pages too; `read_s`: of reading them, once.
- `threads`: of either side, both cores where make starts it; the plain side's workers come beside them.
- `load`: the machine's at the end; much above `threads`, others were at work.
"""

import argparse
import json
import os
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from finetune.batches import Split
from finetune.course import run_epoch
from finetune.losses import LossSettings
from finetune.parser import ParserSettings
from finetune.recipe import Recipe, Training
from finetune.scoring.protocol import judge
from finetune.trainer import Trainer
from launch import tracking
from launch.progress import say
from launch.tracking import Record, Tracking
from shards.labels import CATEGORIES, Span, Tables
from shards.read import Shards
from shards.schema import SECONDS, Feature, Video
from shards.write import Writer
from tests.bench import plain_parser
from tests.bench.bench_pretrain import product_rate
from tests.bench.plain_parser import Files, Item

CPU = torch.device("cpu")
WIDTHS = {name: shape[1] for name, shape in plain_parser.ROWS.items()}
POOL = 500
"""Arrays of each feature that the planted videos share."""
BATCH = 16
RECIPE = Recipe(
    parser=ParserSettings(architecture="han"), loss=LossSettings(lambda_g=2.0), training=Training(batch=BATCH)
)


@dataclass
class Rounds:
    """What each round took: seconds of a step and of an evaluation on both sides, and the FLOP/s of plain products."""

    ours: list[float] = field(default_factory=list)
    plain: list[float] = field(default_factory=list)
    judged: list[float] = field(default_factory=list)
    plainly_judged: list[float] = field(default_factory=list)
    rates: list[float] = field(default_factory=list)


class Enough(Exception):
    """The round has its steps."""


def plant(folder: Path, videos: dict[str, int]) -> Tables:
    """Writes shards of random features, and gives random annotations of their videos."""
    draw = np.random.default_rng(0)
    pool = {name: draw.standard_normal((POOL, SECONDS, width), np.float32) for name, width in WIDTHS.items()}
    weak: dict[str, dict[str, tuple[int, ...]]] = {"validation": {}}
    for split, number in videos.items():
        keys = [f"{split[:2]}{place:09d}_0_10" for place in range(number)]
        weak[split] = {key: tuple(sorted(draw.choice(len(CATEGORIES), 2, replace=False).tolist())) for key in keys}
        with Writer(folder / split, [Feature(*one) for one in WIDTHS.items()], {"stage": "benchmark"}, POOL) as writer:
            for key in keys:
                writer.add(Video(key, {name: arrays[draw.integers(POOL)] for name, arrays in pool.items()}))
    onsets = {key: int(draw.integers(8)) for key in weak["test"]}
    audio = {key: (Span(weak["test"][key][0], onset, onset + 2),) for key, onset in onsets.items()}
    visual = {key: (Span(weak["test"][key][1], onset, 10),) for key, onset in onsets.items()}
    return Tables(weak, audio, visual)


def our_steps(trainer: Trainer, train: Split, record: Record, steps: int) -> float:
    """Seconds a step of the stage's own loop, over so many steps or the few more at an epoch's end."""
    start, first = time.perf_counter(), trainer.step

    def stop() -> None:
        if trainer.step - first >= steps:
            raise Enough

    try:
        while trainer.step - first < steps:
            run_epoch(trainer, train, record, stop)
    except Enough:
        pass
    return (time.perf_counter() - start) / (trainer.step - first)


def plain_steps(trainer: Trainer, batches: Iterator[Item], steps: int) -> float:
    """Seconds a step of the plain side, over so many steps."""
    trainer.parser.train()
    start = time.perf_counter()
    for _ in range(steps):
        plain_parser.descend(trainer, *next(batches))
    return (time.perf_counter() - start) / steps


def evaluations(ours: Trainer, test: Split, files: Files, evaluated: int, rounds: Rounds) -> None:
    """One evaluation of all videos by each side; the plain one's is computed from a part of them."""
    start = time.perf_counter()
    judge(ours.parser, test, RECIPE.protocol)
    rounds.judged.append(time.perf_counter() - start)
    part = Files(files.folder, files.files, test.labels[:evaluated])
    videos = plain_parser.singly(part, workers=1)  # its start takes as long for any number of videos: it is not scaled
    start = time.perf_counter()
    plain_parser.evaluate(ours.parser, videos, [each[:evaluated] for each in test.truth])
    rounds.plainly_judged.append((time.perf_counter() - start) * len(test) / len(part))


def products(train: Split, files: Files) -> tuple[int, int]:
    """The floating point operations in the products of one step: ours, and the plain side's."""
    ours, plain = (Trainer.new(RECIPE, train, CPU) for _ in range(2))
    with FlopCounterMode(display=False) as counted:
        ours.descend(train.batch(torch.arange(BATCH)))
    with FlopCounterMode(display=False) as plainly_counted:
        plain_parser.descend(plain, *next(plain_parser.epochs(files, BATCH, workers=0)))
    return counted.get_total_flops(), plainly_counted.get_total_flops()


def measure(asked: argparse.Namespace, work: Path) -> dict[str, Any]:
    """The numbers of the last line."""
    videos = {"train": asked.videos, "test": asked.evaluation_videos}
    tables = plant(work / "shards", videos)
    start = time.perf_counter()
    train, test = (Split.load(name, Shards.open(work / "shards" / name), tables, tuple(WIDTHS)) for name in videos)
    read = time.perf_counter() - start
    ours, rounds = Trainer.new(RECIPE, train, CPU), Rounds()
    with tracking.run(Tracking(root=work / "runs"), "benchmark", RECIPE) as record:
        our_steps(ours, train, record, asked.warm_up)
        judge(ours.parser, test, RECIPE.protocol)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # before there is any of the plain side
        files = Files.plant(work / "feats", asked.files, train.labels)
        flops = products(train, files)
        plain, batches = Trainer.new(RECIPE, train, CPU), plain_parser.epochs(files, BATCH, asked.workers)
        if not asked.fused:
            plain.optimizer = torch.optim.Adam(plain.parser.parameters(), RECIPE.training.learning_rate)
        plain_steps(plain, batches, asked.warm_up)
        for number in range(1, asked.rounds + 1):
            rounds.rates.append(product_rate(CPU, "fp32"))
            rounds.ours.append(our_steps(ours, train, record, asked.steps))
            rounds.plain.append(plain_steps(plain, batches, asked.steps))
            evaluations(ours, test, files, asked.evaluated, rounds)
            say(f"round {number}: {1e3 * rounds.ours[-1]:.1f} ms a step, plain {1e3 * rounds.plain[-1]:.1f} ms")
    return summary(rounds, flops, train, test) | {"peak_mib": peak, "read_s": read, "workers": asked.workers}


def summary(rounds: Rounds, flops: tuple[int, int], train: Split, test: Split) -> dict[str, Any]:
    """What the rounds say."""
    middle, rate = statistics.median, max(rounds.rates)
    ours, plain = middle(rounds.ours), middle(rounds.plain)
    return {
        "videos": len(train),
        "seconds_per_epoch": ours * train.steps(BATCH),
        "videos_per_s": len(train) / (ours * train.steps(BATCH)),
        "plain_seconds_per_epoch": plain * train.steps(BATCH),
        "ratio": middle(two / one for one, two in zip(rounds.ours, rounds.plain, strict=True)),
        "arithmetic_ratio": flops[1] / flops[0],
        "evaluation_videos": len(test),
        "evaluation_s": middle(rounds.judged),
        "plain_evaluation_s": middle(rounds.plainly_judged),
        "evaluation_ratio": middle(two / one for one, two in zip(rounds.judged, rounds.plainly_judged, strict=True)),
        "product_gflop_per_s": rate / 1e9,
        "share_of_limit": flops[0] / rate / ours,
        "plain_share_of_limit": flops[1] / rate / plain,
        "threads": torch.get_num_threads(),
        "load": os.getloadavg()[0],
    }


def main(words: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=int, default=10_000, help="training videos")
    parser.add_argument("--steps", type=int, default=80, help="steps of a side in a round; 625: a whole epoch")
    parser.add_argument("--rounds", type=int, default=5, help="rounds measured")
    parser.add_argument("--warm_up", type=int, default=10, help="steps of a side before the first round")
    parser.add_argument("--files", type=int, default=640, help="videos on the disk (0.7 MB each), read again and again")
    parser.add_argument("--workers", type=int, default=2, help="of the plain side's DataLoader")
    parser.add_argument("--fused", action="store_true", help="give the plain side the fused Adam that ours has")
    parser.add_argument("--evaluation_videos", type=int, default=1_200, help="videos that are scored")
    parser.add_argument("--evaluated", type=int, default=300, help="of these, parsed by the plain side in a round")
    asked = parser.parse_args(words)
    if "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(len(os.sched_getaffinity(0)))
    with tempfile.TemporaryDirectory() as work:
        found = measure(asked, Path(work))
    print(json.dumps({name: round(value, 4) if isinstance(value, float) else value for name, value in found.items()}))


if __name__ == "__main__":
    main()
