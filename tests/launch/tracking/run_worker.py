"""A stage of the tests' own in a run: steps with points, one line each, until it ends in one of several ways.

    run_worker.py ROOT [--uri URI] [--experiment NAME] [--resume ID] [--from STEP] [--to STEP] [--pause SECONDS]
                  [--width N] [--end WAY] [--wait SECONDS] [--file PATH] [--parent ID] [--ask STEP …]

After each step that is named after `--ask` it waits for a line on its input.
"""

import argparse
import os
import signal
import sys
import time
from pathlib import Path

from launch import tracking
from launch.preemption import Stopped
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking


class Config(Settings):
    """One setting, and where the run is recorded."""

    width: int
    tracking: Tracking


def work(words: argparse.Namespace) -> None:
    """The run."""
    place = {"root": words.root, "uri": words.uri, "experiment": words.experiment, "parent": words.parent}
    given = Tracking.model_validate(place | {"wait": words.wait})
    with tracking.run(given, "worker", Config(width=words.width, tracking=given), resume=words.resume) as record:
        print("run", record.run_id, flush=True)
        for step in range(words.first, words.to):
            record.metrics(step, {"loss": words.width / (step + 1), "rate": float(step)})
            print("step", step, flush=True)
            if step in words.ask:
                ask()
            time.sleep(words.pause)
        if words.file:
            record.artifact(words.file)
        end(words.end)
    print("ended", flush=True)


def ask() -> None:
    """Waits for a word."""
    print("asks", flush=True)
    sys.stdin.readline()


def end(way: str) -> None:
    """The end of the steps."""
    if way == "raise":
        raise ValueError("broken")
    if way == "stop":
        raise Stopped("as it was asked to.")
    if way == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif way == "sleep":
        print("sleeps", flush=True)
        time.sleep(600)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser()
    parser.add_argument("root", type=Path)
    parser.add_argument("--uri", default="")
    parser.add_argument("--experiment", default="soundsight")
    parser.add_argument("--resume", default="")
    parser.add_argument("--from", dest="first", type=int, default=0)
    parser.add_argument("--to", type=int, default=3)
    parser.add_argument("--pause", type=float, default=0.0)
    parser.add_argument("--ask", type=int, nargs="*", default=())
    parser.add_argument("--parent", default="")
    parser.add_argument("--width", type=int, default=3)
    parser.add_argument("--end", default="")
    parser.add_argument("--wait", type=float, default=10.0)
    parser.add_argument("--file", type=Path)
    try:
        work(parser.parse_args())
    except Refusal as refusal:
        sys.exit(f"Refused: {refusal}")


if __name__ == "__main__":
    main()
