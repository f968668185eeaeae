"""Words: what stands on the command line, taken apart before any setting is read.

python -m launch STAGE [FILE.toml …] [--dotted.key value …] [--on local|hostfile|slurm|kubernetes] [--dry-run]
python -m launch parse my.mp4 other.mkv [FILE.toml …] …   # words that are no settings files: what the stage is about
python -m launch parse --html my.mp4                      # … and those behind an option that takes no more values

A name that begins with `-` is no option where it says so: `./-my.mp4`, or `--videos=-my.mp4`.
"""

import difflib
import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from launch.job import Job
from launch.refusal import Refusal
from launch.settings import Settings, load, loose, takes

PLACES = ("local", "hostfile", "slurm", "kubernetes")
"""Where the processes of a stage can be started."""


class _OfJob(Settings):
    """Settings of how and where a stage is started."""

    job: Job = Job()


@dataclass(frozen=True)
class Words:
    """One command line."""

    stage: str
    files: tuple[Path, ...]
    """What stands before all options, in its order: settings files, and see `about`."""
    options: tuple[str, ...]
    """`--dotted.key value …`."""
    on: str = "local"
    dry_run: bool = False
    """Whether to print what would be started or submitted, and do neither."""

    @classmethod
    def of(cls, words: Sequence[str]) -> "Words":
        """A command line taken apart. Raises Refusal for a place that does not exist."""
        left, on, dry_run = list[str](), "local", False
        rest = iter(words[1:])
        for word in rest:
            name, given, value = word.partition("=")
            if name == "--on":
                on = _place(value if given else next(rest, ""))
            elif word in ("--dry-run", "--dry_run"):
                dry_run = True
            else:
                left.append(word)
        count = next((i for i, word in enumerate(left) if word.startswith("-")), len(left))
        return cls(words[0], tuple(map(Path, left[:count])), tuple(left[count:]), on, dry_run)

    def about(self, subject: str, model: type[Settings]) -> "Words":
        """These words where a stage has a subject: those that are no option's, and no `.toml`, are its values.

        They are as they were where there are none. Raises Refusal when the subject is named besides, and for words
        behind the options that are nobody's.
        """
        options, behind = loose(model, self.options)
        lost = [word for word in behind if not subject or word.lower().endswith(".toml")]
        if lost:
            raise Refusal(
                f"What stands behind an option must be its value, but '{lost[0]}' is none: settings files (.toml) "
                "stand before all options, other words behind the setting they are for."
            )
        named = [str(file) for file in self.files if file.suffix.lower() != ".toml"] if subject else []
        values = [*(f".{os.sep}{name}" if name.startswith("-") else name for name in named), *behind]
        if not values:
            return self
        flag = f"--{subject}"
        if any(word.partition("=")[0] == flag for word in options):
            raise Refusal(
                f"What a stage is about must be said once, but '{values[0]}' stands by itself and {flag} names more: "
                f"let all stand by themselves, or all behind {flag}."
            )
        if len(values) > takes(model)[subject]:
            raise Refusal(f"This stage is about one thing at a time, but '{values[1]}' is another: give one.")
        files = tuple(file for file in self.files if file.suffix.lower() == ".toml")
        return replace(self, files=files, options=(flag, *values, *options))

    @property
    def arguments(self) -> list[str]:
        """What a process of the stage reads: files and options."""
        return [*map(str, self.files), *self.options]

    def without_job(self) -> tuple["Words", Job]:
        """These words without the options that begin with `--job.`, and the job that those describe.

        For a stage whose own settings say nothing of how it is started.
        """
        others, ours, mine = list[str](), list[str](), False
        for word in self.options:
            if word.startswith("--"):
                mine = word.startswith("--job.")
            (ours if mine else others).append(word)
        job = load(_OfJob, (), ours, f"python -m launch {self.stage}").job
        return Words(self.stage, self.files, tuple(others), self.on, self.dry_run), job


def _place(value: str) -> str:
    if value in PLACES:
        return value
    near = difflib.get_close_matches(value, PLACES, n=1, cutoff=0.4)
    remedy = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(PLACES)}."
    raise Refusal(f"--on must name a place where stages can be started, but names '{value}': {remedy}")
