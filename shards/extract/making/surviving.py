"""Work that may end the process that does it, as a damaged file can: it costs that file, not the thousand others."""

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from launch.crew import Died, share_out
from launch.progress import say
from shards.extract.making.failures import printable

T = TypeVar("T")
R = TypeVar("R")
IN_A_ROW = 5
"""Files that end a process one after the other, while nothing else is done: then it is not the files."""


@dataclass
class Surviving(Generic[T, R]):
    """Tasks that are shared out over processes, of which any may end at any time."""

    work: Callable[[T], tuple[T, R]]
    """Gives the task back, with what came of it."""
    processes: int
    apart: bool
    """Whether they are processes of their own; False: all is done by this one, which no task may end then."""
    name_of: Callable[[T], str]
    """The file that a task is about."""
    give_up: Callable[[T, str], R]
    """What comes of a task that ended two processes, the second of which had nothing else to do; by how it ended."""
    _row: dict[str, None] = field(default_factory=dict)

    def outcomes(self, tasks: Iterable[T]) -> Generator[tuple[T, R]]:
        """Each task and what came of it, in the order in which they are done.

        A task in whose hands a process ends is done once more, alone, so that it has all memory for itself; where that
        ends too, the task is given up. Raises ChildProcessError where this happens to several files in a row.
        """
        if not self.apart:
            yield from map(self.work, tasks)
            return
        waiting = Waiting[T](iter(tasks))
        while True:
            try:
                with share_out(self.work, waiting.handed_out(), self.processes, apart=True) as results:
                    for task, outcome in results:
                        waiting.done(task)
                        self._row.clear()
                        yield task, outcome
                return
            except Died as death:
                yield self._again(waiting.suspect(death.number), death)

    def _again(self, task: T, death: Died) -> tuple[T, R]:
        name = printable(self.name_of(task))
        say(f"A process {death.how} while '{name}' was in its hands: this is tried once more, alone.")
        try:
            with share_out(self.work, [task], 1, apart=True) as results:
                outcome = next(results)
        except Died as second:
            self._row[name] = None
            if len(self._row) == IN_A_ROW:
                names = ", ".join(f"'{each}'" for each in self._row)
                raise ChildProcessError(
                    f"{second} So it went with {IN_A_ROW} files in a row, {names}: see to the memory and the libraries "
                    "of this machine, or leave them out; the same command goes on."
                ) from None
            return task, self.give_up(task, second.how)
        self._row.clear()
        return outcome


class Waiting(Generic[T]):
    """Tasks on their way: those to be handed out, and those in the hands of a crew."""

    def __init__(self, tasks: Iterator[T]) -> None:
        self._tasks, self._again, self._handed = tasks, deque[T](), list[T | None]()
        self._number = dict[T, int]()

    def handed_out(self) -> Iterator[T]:
        """The tasks for a new crew, first those that the one before had in hand."""
        self._again.extend(task for task in self._handed if task is not None)
        self._handed, self._number = [], {}
        while True:
            task = self._again.popleft() if self._again else next(self._tasks, None)
            if task is None:
                return
            self._number[task] = len(self._handed)
            self._handed.append(task)
            yield task

    def done(self, task: T) -> None:
        """Notes that something came of it."""
        self._handed[self._number.pop(task)] = None

    def suspect(self, number: int) -> T:
        """The task with this number, which is not handed out again."""
        task = self._handed[number]
        assert task is not None, "a process has one task in hand"
        self.done(task)
        return task
