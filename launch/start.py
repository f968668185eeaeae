"""Start: the ranks of a stage are started, and started again when they died and can go on where they were."""

import itertools
import os
import shlex
import sys
from collections.abc import Sequence

from launch import tracking
from launch.job import Job
from launch.launchers import kubernetes, slurm
from launch.launchers.hosts import Hosts
from launch.launchers.local import Local
from launch.launchers.one_of_many import OneOfMany
from launch.progress import say
from launch.ranks.supervise import REFUSED, End, Ranks
from launch.refusal import Refusal
from launch.stage import STAGES, find
from launch.tracking.redact import redacted

MODULE = "launch"
"""What every rank runs: `python -m launch STAGE …`."""
Place = Local | Hosts
_READ = {
    "hostfile": ["hostfile"],
    "no_ssh": ["hostfile"],
    "node_rank": ["hostfile"],
    "hosts": ["slurm", "kubernetes", "hostfile"],  # a pod starts its ranks as one host of a file
}
"""Settings of a job, and the places (--on) where alone they mean something."""


def start(stage: str, arguments: Sequence[str], job: Job, on: str = "local", dry_run: bool = False) -> int:
    """Runs `python -m launch STAGE …` as the ranks of a job where it is asked to; returns their exit code.

    The ranks read the same arguments, which the caller has validated. When they die, and the stage goes on by itself
    where it was, they are started again; never when they ended, refused, or were asked to stop. A scheduler's job is
    only submitted. A dry run prints what would be started or submitted.
    """
    if on == "slurm":
        return slurm.submit(stage, arguments, job, dry_run)
    if on == "kubernetes":
        return kubernetes.submit(stage, arguments, job, dry_run)
    place, chosen = _place(stage, job, on), find(stage)
    if dry_run:
        print(redacted(shlex.join(place.command([MODULE, stage, *arguments]))))
        return 0
    say(f"Starting {place.title} of `python -m launch {redacted(shlex.join([stage, *arguments]))}`.")
    with Ranks(chosen.stops) as ranks:
        end = _until_the_end(place, ranks, [MODULE, stage, *arguments], job.max_restarts if chosen.resumes else 0)
    if end.death:
        print(f"Failed: {end.death}", file=sys.stderr, flush=True)
    return end.code


def check_read(job: Job, on: str) -> None:
    """Raises Refusal for a setting that a start in this place would not read."""
    for name, places in _READ.items():
        value = getattr(job, name)
        if on not in places and value != Job.model_fields[name].default:
            raise Refusal(
                f"A job's settings must be those of the place where it is started, but --on {on} does not read "
                f"job.{name} ({value}): add --on {' or '.join(places)}, or leave it out."
            )


def _place(stage: str, job: Job, on: str) -> Place:
    if on == "local":
        return Local(job)
    if not find(stage).distributed:
        several = ", ".join(name for name, each in STAGES.items() if each.distributed)
        raise Refusal(
            f"A stage over several hosts must share its work, but '{stage}' is one process: run it on one host; those "
            f"that share are {several}."
        )
    return OneOfMany(job) if job.no_ssh else Hosts(job)


def _until_the_end(place: Place, ranks: Ranks, module: Sequence[str], allowed: int) -> End:
    for restarts in itertools.count(1):
        with place.opened() as roster:
            command, environment = place.command(module), place.environment(roster, restarts - 1)
            end = ranks.run(command, environment, roster, place.count, place.connections())
            if end.code and (run := roster.run()):
                tracking.mark(*run, "FAILED" if end.death or end.code == REFUSED else "KILLED")
            address = roster
        if end.code:
            place.clear(address)
        if not end.death or restarts > allowed or ranks.asked:
            return end
        say(f"{end.death} Starting again from where it was: restart {restarts} of at most {allowed}.")
        if not place.ready(lambda: ranks.asked or ranks.told):
            return End(os.EX_TEMPFAIL if ranks.asked else end.code, "" if ranks.asked else end.death)
    raise AssertionError("it counts for ever")
