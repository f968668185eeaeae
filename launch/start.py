"""Start: the ranks of a stage are started, and started again when they died and can go on where they were."""

import itertools
import os
import sys
from collections.abc import Sequence

from launch import tracking
from launch.job import Job
from launch.launchers.local import environment, launcher
from launch.progress import say
from launch.ranks.roster import opened
from launch.ranks.supervise import REFUSED, Ranks
from launch.stage import find
from launch.world import check_devices

MODULE = "launch"
"""What every rank runs: `python -m launch STAGE …`."""


def start(stage: str, arguments: Sequence[str], job: Job) -> int:
    """Runs `python -m launch STAGE …` as `job.processes` ranks under the deepspeed launcher; returns their exit code.

    The ranks read the same arguments, which the caller has validated, and keep to 127.0.0.1. When they die, and the
    stage goes on by itself where it was, they are started again; never when they ended, refused, or were asked to stop.
    """
    check_devices(job.processes)
    allowed = job.max_restarts if find(stage).resumes else 0
    command = [*launcher(job), "--module", MODULE, stage, *arguments]
    say(f"Starting {job.processes} processes of `python -m launch {' '.join([stage, *arguments])}`.")
    with Ranks(find(stage).stops) as ranks:
        for restarts in itertools.count(1):
            with opened() as roster:
                end = ranks.run(command, os.environ | environment(job, roster, restarts - 1), roster, job.processes)
                if end.code and (run := roster.run()):
                    tracking.mark(*run, "FAILED" if end.death or end.code == REFUSED else "KILLED")
            if not end.death or restarts > allowed or ranks.asked:
                break
            say(f"{end.death} Starting again from where it was: restart {restarts} of at most {allowed}.")
    if end.death:
        print(f"Failed: {end.death}", file=sys.stderr, flush=True)
    return end.code
