"""One trial: a run of two ranks is killed again and again while it trains, and started again until it is done.

`trial` compares the encoder it ends with, bit for bit, with that of a run that was never killed.
"""

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import torch
from mlflow import MlflowClient

from launch.tracking import Tracking
from pretrain.model import load_encoder

ROOT = Path(__file__).parents[2]
KINDS = ("rank", "group", "asked")
"""kill -9 of a rank; kill -9 of the launcher and all ranks; SIGTERM or SIGUSR1 to the command or a rank."""
STEPS_A_KILL = 12
"""Of which a drawn number, at most half, is done before the next kill; the rest passes before it strikes."""
WAIT = 180.0
"""Seconds in which a start must reach its next checkpoint, and end after its last."""


@dataclass(frozen=True)
class Outcome:
    """What a trial found."""

    equal: bool
    """Whether the encoder is that of the run that was never killed, and one MLflow run has every point once."""
    kills: tuple[str, ...]
    """What struck a run that was training, in order."""
    restarts: int
    """Starts by the command itself, after a death."""
    stops: int
    """Ends with 75, after which the same command was given again."""
    said: str


def trial(settings: Mapping[str, Any], out: Path, kills: int, seed: int) -> Outcome:
    """Trains twice, once undisturbed and once with so many kills; the settings are without `out` and `steps`."""
    draw, kinds = random.Random(seed), list[str]()
    while len(kinds) < kills:
        kinds += draw.sample(KINDS, len(KINDS))
    steps, said, struck, stops = kills * STEPS_A_KILL + 10, "", list[str](), 0
    words = {name: [*flat(settings), "--steps", str(steps), "--out", str(out / name)] for name in ("whole", "killed")}
    with started(words["whole"], "whole", out) as (undisturbed, log):
        assert undisturbed.wait(600) == 0, log.read_text()
    for start in itertools.count():
        with started(words["killed"], f"killed-{start}", out) as (command, log):
            while len(struck) < kills and _strike(command, out / "killed", kinds[len(struck)], draw):
                struck.append(kinds[len(struck)])
            code = command.wait(WAIT)
            said += log.read_text()
        if code != os.EX_TEMPFAIL:
            break
        stops += 1
    told = _told(Tracking(**settings["tracking"]), steps)
    equal = code == 0 and told and _equal(out / "whole" / "encoder", out / "killed" / "encoder")
    return Outcome(equal, tuple(struck), said.count("Starting again from where it was"), stops, said)


def _strike(command: "subprocess.Popen[bytes]", out: Path, kind: str, draw: random.Random) -> bool:
    """Waits for a drawn number of steps more and a drawn moment more, and kills; False when the command ended."""
    at = _done(out) + draw.randrange(1, STEPS_A_KILL // 2)
    if not wait(lambda: command.poll() is not None or (_done(out) >= at and len(_ranks(command)) == 2)):
        raise TimeoutError(f"'{out}' did not come to step {at} within {WAIT:g} s")
    time.sleep(draw.random() * 0.1)
    ranks = _ranks(command)
    if command.poll() is not None or len(ranks) < 2:
        return False
    victim = draw.choice(ranks)
    with suppress(ProcessLookupError):
        if kind == "rank":
            os.kill(victim, signal.SIGKILL)
        elif kind == "group":
            os.killpg(os.getpgid(victim), signal.SIGKILL)
        else:
            os.kill(draw.choice((command.pid, victim)), draw.choice((signal.SIGTERM, signal.SIGUSR1)))
            command.wait(WAIT)
            return True
    wait(lambda: not any(map(psutil.pid_exists, ranks)) or command.poll() is not None)
    return True


def _ranks(command: "subprocess.Popen[bytes]") -> list[int]:
    """The living ranks of a command, in order of their start."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(command.pid).children(recursive=True):
            with suppress(psutil.Error):
                if "deepspeed.launcher.launch" in process.parent().cmdline() and process.status() != "zombie":
                    found.append(process.pid)
    return found


def _done(out: Path) -> int:
    """The steps of the newest checkpoint."""
    return max((int(path.name.rpartition("-")[2]) for path in (out / "checkpoints").glob("step-*")), default=0)


def wait(condition) -> bool:  # type: ignore[no-untyped-def]
    end = time.monotonic() + WAIT
    while not condition():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def _told(tracking: Tracking, steps: int) -> bool:
    """Whether there are two MLflow runs, since one that was killed goes on in its own, with the same points, once."""
    client = MlflowClient(tracking.store)
    experiment = client.get_experiment_by_name(tracking.experiment)
    assert experiment is not None, "the run that was never killed is in it"
    runs = client.search_runs([experiment.experiment_id])
    losses = [
        sorted((point.step, point.value) for point in client.get_metric_history(run.info.run_id, "loss"))
        for run in runs
    ]
    whole = [step for step, _ in losses[0]] == list(range(steps))
    return [run.info.status for run in runs] == ["FINISHED", "FINISHED"] and whole and losses[0] == losses[1]


def _equal(one: Path, other: Path) -> bool:
    first, second = (load_encoder(folder).state_dict() for folder in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


def flat(settings: Mapping[str, Any], prefix: str = "") -> list[str]:
    words: list[str] = []
    for name, value in settings.items():
        inner = isinstance(value, Mapping)
        words += flat(value, f"{prefix}{name}.") if inner else [f"--{prefix}{name}", str(value)]
    return words


@contextmanager
def started(words: list[str], name: str, logs: Path) -> Iterator[tuple["subprocess.Popen[bytes]", Path]]:
    """`python -m launch pretrain`, and the file of what it says; nothing of it is left at the end."""
    log = logs / f"{name}.log"
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "launch", "pretrain", *words]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=environment, stdout=file, stderr=subprocess.STDOUT)
    try:
        yield process, log
    finally:
        if process.poll() is None:
            process.kill()  # its ranks notice
            process.wait()
