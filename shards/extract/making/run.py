"""The making of an extraction: files are examined and decoded by a crew, clips are encoded here and put into shards."""

import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TypeVar

import torch

from launch.atomic import Unfinished
from launch.crew import share_out
from launch.progress import say, track
from launch.refusal import Refusal
from shards.extract.decoding import Decoded
from shards.extract.making.assembly import SET, Assembly, Encoded, encode
from shards.extract.making.failures import Failure, OnBad, counted, printable
from shards.extract.making.files import VideoFile
from shards.extract.making.means import Means
from shards.extract.making.plan import Examined, Plan, Task
from shards.extract.making.work import Decoding, Examining
from shards.extract.networks import FeatureNetwork
from shards.extract.recipes import wanted
from shards.finished import Done, going_on

T = TypeVar("T")
A_PROCESS = 64
"""Files to examine for which another process is worth its start."""


def examine(
    means: Means, chosen: Sequence[VideoFile], processes: int, on_bad: OnBad
) -> tuple[list[Examined], list[Failure]]:
    """What is known of each file by its headers, in their order, and why some are no use."""
    count = min(processes or os.cpu_count() or 1, max(1, len(chosen) // A_PROCESS))
    outcomes, in_hand = dict[int, Examined | Failure](), InHand()
    tasks = in_hand.noted(enumerate(chosen), lambda task: (task[0], task[1].name))
    with in_hand.named(), share_out(Examining(means.examine, on_bad), tasks, count) as results:
        for number, outcome in track(results, "examine", len(chosen), "files"):
            in_hand.names.pop(number)
            outcomes[number] = outcome
    ordered = [outcomes[number] for number in range(len(chosen))]
    good = [each for each in ordered if isinstance(each, Examined)]
    return good, [each for each in ordered if isinstance(each, Failure)]


@dataclass
class InHand:
    """The files that processes are at work on, to be named when one dies of them."""

    names: dict[Hashable, str] = field(default_factory=dict)
    """Task → the file's name."""

    def noted(self, tasks: Iterable[T], called: Callable[[T], tuple[Hashable, str]]) -> Iterator[T]:
        """The tasks, each noted when it is handed out, by what `called` says of it."""
        for task in tasks:
            key, name = called(task)
            self.names[key] = name
            yield task

    @contextmanager
    def named(self) -> Iterator[None]:
        """Adds the names to what is said of a process that died."""
        try:
            yield
        except ChildProcessError as error:
            names = ", ".join(f"'{printable(name)}'" for name in dict.fromkeys(self.names.values()))
            raise ChildProcessError(
                f"{error} In hand were {names}: where the same one ends it again, leave that file out."
            ) from None


class Making:
    """A plan on its way into shards."""

    def __init__(
        self, plan: Plan, means: Means, place: Unfinished, on_bad: OnBad, processes: int, audio_track: int | None
    ) -> None:
        self.plan, self._means, self._on_bad, self._audio_track = plan, means, on_bad, audio_track
        self._processes = processes or os.cpu_count() or 1
        self._place = place
        self.assembly = Assembly(plan, means.features, place, on_bad)
        self._in_hand = InHand()

    def shards(self) -> list[Done]:
        """Every shard in order, made or taken over.

        Raises Refusal for a bad clip that shall stop the extraction, and ChildProcessError where a decoding process
        died; what is finished then stays for a later start.
        """
        with going_on(self._place, {SET: self.plan.shards}) as done:
            found = {number: self.assembly.found(number) for number in range(self.plan.shards)}
            done.extend(each for each in found.values() if each)
            left = [number for number, each in found.items() if not each]
            if left:
                done.extend(self._made(left))
        return sorted(done, key=lambda each: each.number)

    def _made(self, numbers: Sequence[int]) -> Iterator[Done]:
        networks = self._means.load()
        decoding = Decoding(self._means.decoder, wanted(networks, self._audio_track), self._on_bad)
        clips = sum(len(self.plan.of_shard(number)) for number in numbers)
        count = min(self._processes, clips)
        say(f"Decoding {counted(clips, 'clip')} by {count} process{'es' if count > 1 else ''}.")
        handed = self._in_hand.noted(self.plan.tasks(numbers), lambda task: (task, task.name))
        with self._in_hand.named(), share_out(decoding, handed, count) as results:
            yield from filter(None, track(self._taken(results, networks), "extract", clips, "clips"))

    def _taken(
        self, results: Iterable[tuple[Task, Decoded | Failure]], networks: Sequence[FeatureNetwork]
    ) -> Iterator[Done | None]:
        """For each clip, the shard that it completed, if it did."""
        for task, outcome in results:
            self._in_hand.names.pop(task)
            yield self.assembly.take(task.shard, task.place, _encoded(outcome, networks))


def _encoded(outcome: Decoded | Failure, networks: Sequence[FeatureNetwork]) -> Encoded | Failure:
    if isinstance(outcome, Failure):
        return outcome
    try:
        return encode(outcome, networks)
    except torch.OutOfMemoryError as error:
        raise Refusal(
            f"The networks must have room on their device, but it has none left ({str(error).splitlines()[0]}): give "
            "fewer --images at a time, or --device cpu."
        ) from None
