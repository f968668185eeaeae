"""The making of an extraction: files are examined and decoded by a crew, clips are encoded here and put into shards."""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing

import torch

from launch.atomic import Unfinished
from launch.progress import say, track
from launch.refusal import Refusal
from shards.extract.decoding import Decoded
from shards.extract.making.assembly import SET, Assembly, Encoded, encode
from shards.extract.making.failures import Failure, OnBad, counted
from shards.extract.making.files import VideoFile
from shards.extract.making.means import Means
from shards.extract.making.plan import Examined, Plan, Task
from shards.extract.making.surviving import Surviving
from shards.extract.making.work import Decoding, Examining
from shards.extract.networks import FeatureNetwork
from shards.extract.recipes import wanted
from shards.finished import Done, going_on

A_PROCESS = 64
"""Files to examine for which another process is worth its start."""


def examine(
    means: Means, chosen: Sequence[VideoFile], processes: int, on_bad: OnBad
) -> tuple[list[Examined], list[Failure]]:
    """What is known of each file by its headers, in their order, and why some are no use."""
    count = min(processes or os.cpu_count() or 1, max(1, len(chosen) // A_PROCESS))
    work = Examining(means.examine, on_bad)
    surviving = Surviving(work, count, processes != 1, lambda file: file.name, work.give_up)
    with closing(surviving.outcomes(chosen)) as results:
        outcomes = dict(track(results, "examine", len(chosen), "files"))
    ordered = [outcomes[file] for file in chosen]
    good = [each for each in ordered if isinstance(each, Examined)]
    return good, [each for each in ordered if isinstance(each, Failure)]


class Making:
    """A plan on its way into shards."""

    def __init__(
        self, plan: Plan, means: Means, place: Unfinished, on_bad: OnBad, processes: int, audio_track: int | None
    ) -> None:
        self.plan, self._means, self._on_bad, self._audio_track = plan, means, on_bad, audio_track
        self._processes, self._apart = processes or os.cpu_count() or 1, processes != 1
        self._place = place
        self.assembly = Assembly(plan, means.features, place, on_bad)

    def shards(self) -> list[Done]:
        """Every shard in order, made or taken over.

        Raises Refusal for a bad clip that shall stop the extraction, and ChildProcessError where decoding processes
        die of one file after the other; what is finished then stays for a later start.
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
        surviving = Surviving(decoding, count, self._apart, lambda task: task.name, decoding.give_up)
        with closing(surviving.outcomes(self.plan.tasks(numbers))) as results:
            yield from filter(None, track(self._taken(results, networks), "extract", clips, "clips"))

    def _taken(
        self, results: Iterable[tuple[Task, Decoded | Failure]], networks: Sequence[FeatureNetwork]
    ) -> Iterator[Done | None]:
        """For each clip, the shard that it completed, if it did."""
        for task, outcome in results:
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
