"""A rank of a stage of the tests' own, run as `python -m launch` runs one: steps of a collective until it is stopped.

    stage_worker.py STAGE OUT [--refuse RANK] [--fail RANK] [--track] [--steps N] [--pause SECONDS]

Each rank writes its pid to OUT/<start>-<rank>.pid, and the step it left after to OUT/<start>-<rank>.done.
"""

import argparse
import contextlib
import os
import sys
import time
from pathlib import Path

import torch
import torch.distributed as dist

from launch import __main__ as command
from launch import preemption, tracking
from launch.preemption import Stopped
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking
from launch.words import Words
from launch.world import World

LOST_AFTER = 2.0


def run(words: argparse.Namespace) -> None:
    world = World.from_environment(5, LOST_AFTER)
    mine = words.out / f"{world.restarts}-{world.rank}"
    track = tracking.run(Tracking(root=words.out / "runs"), words.stage, Settings(), world.leads)
    with track if words.track else contextlib.nullcontext(), preemption.preemption(world) as asked_to_stop:
        mine.with_suffix(".pid").write_text(str(os.getpid()))
        for step in range(words.steps):
            time.sleep(words.pause)
            if step == 5 and world.rank == words.refuse:
                raise Refusal("It must not.")
            if step == 5 and world.rank == words.fail:
                raise ValueError("broken")
            dist.all_reduce(torch.ones(1))
            if asked_to_stop():
                mine.with_suffix(".done").write_text(str(step))
                raise Stopped(f"after step {step}.")
    world.close()


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("stage")
    parser.add_argument("out", type=Path)
    parser.add_argument("--refuse", type=int)
    parser.add_argument("--fail", type=int)
    parser.add_argument("--track", action="store_true")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--pause", type=float, default=0.02)
    words = parser.parse_args()

    def run_it(command_line: Words) -> int:
        run(words)
        return 0

    command._run = run_it
    preemption.AGAIN = 1.0
    return command.main([words.stage])


if __name__ == "__main__":
    sys.exit(main())
