"""A crew: processes that share out tasks. A refusal, a crash and a kill in any of them end all, and say so."""

import os
import signal
import threading
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing import connection, get_context, parent_process
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any, TypeVar

from launch.refusal import Refusal

Task = TypeVar("Task")
Result = TypeVar("Result")
PATIENCE = 5.0
"""Seconds a process gets to end after it was asked to."""


class Died(ChildProcessError):
    """A process ended before its task was done."""

    def __init__(self, sentence: str, number: int, how: str) -> None:
        super().__init__(sentence)
        self.number = number
        """Which of the tasks it had in hand, counted from 0 as they were handed out."""
        self.how = how
        """How it ended, such as "was killed by SIGSEGV"."""


@contextmanager
def share_out(
    work: Callable[[Task], Result], tasks: Iterable[Task], processes: int, apart: bool = False
) -> Iterator[Iterator[Result]]:
    """The results of `work` on every task, in the order in which they are done; processes live inside the `with` block.

    `processes` 0 is one a core; 1 is this process alone, unless the work shall be done `apart` from it. `work` is sent
    once to each process, tasks one by one; tasks are taken from the iterable as they are needed. A `Refusal` of a task
    is raised here as it is, that of the first task if there are several, after the tasks in hand are done, so that it
    does not depend on speed. Raises `Died` when a process dies, and RuntimeError with its traceback when it fails in
    any other way.
    """
    count = processes or os.cpu_count() or 1
    if count == 1 and not apart:
        yield map(work, tasks)
        return
    crew = Crew()
    try:
        crew.start(work, count)
        yield crew.results(iter(tasks))
    finally:
        crew.end()


class Crew:
    """Processes that wait for tasks, each at the other end of a pipe."""

    def __init__(self) -> None:
        self._processes: dict[Connection, BaseProcess] = {}
        self._busy: dict[Connection, int] = {}

    def start(self, work: Callable[[Any], Any], count: int) -> None:
        """Starts that many processes, each with its own copy of `work`."""
        context = get_context("spawn")
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, work), daemon=True)
            process.start()
            theirs.close()
            self._processes[ours] = process

    def results(self, tasks: Iterator[Any]) -> Iterator[Any]:
        """Hands out tasks and yields what comes back, until all are done or one is refused.

        Whoever brings a result has its next task already while the result is being used.
        """
        numbered = enumerate(tasks)
        refused: dict[int, Refusal] = {}
        for pipe in self._processes:
            self._hand_out(pipe, numbered)
        while self._busy:
            ready = connection.wait(list(self._busy))
            for pipe in [each for each in self._busy if each in ready]:
                number = self._busy.pop(pipe)
                result = self._receive(pipe, number)
                if isinstance(result, Refusal):
                    refused[number] = result
                if not refused:
                    self._hand_out(pipe, numbered)
                if not isinstance(result, Refusal):
                    yield result
        if refused:
            raise refused[min(refused)]

    def end(self) -> None:
        """Ends every process, whatever it does."""
        for pipe, process in self._processes.items():
            pipe.close()
            process.terminate()
        for process in self._processes.values():
            process.join(PATIENCE)
            process.kill()
            process.join()

    def _hand_out(self, pipe: Connection, numbered: Iterator[tuple[int, Any]]) -> None:
        for number, task in numbered:
            self._busy[pipe] = number
            try:
                pipe.send(task)
            except OSError:
                raise self._dead(pipe, number) from None
            return

    def _receive(self, pipe: Connection, number: int) -> Any:
        try:
            result, failure = pipe.recv()
        except (EOFError, OSError):
            raise self._dead(pipe, number) from None
        if failure:
            raise RuntimeError(f"A process failed:\n{failure}")
        return result

    def _dead(self, pipe: Connection, number: int) -> Died:
        process = self._processes[pipe]
        process.join(PATIENCE)
        code = process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        hint = " (it may have been out of memory: use fewer --processes)" if code == -signal.SIGKILL else ""
        sentence = f"A process must live until its tasks are done, but {process.pid} {how}{hint}."
        return Died(sentence, number, how)


def _serve(pipe: Connection, work: Callable[[Any], Any]) -> None:
    """The life of a process: tasks come in, pairs (result or refusal, traceback of a failure) go out."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends it to all; the parent ends us
    threading.Thread(target=_die_with_parent, daemon=True).start()
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):
            return
        try:
            answer = work(task), ""
        except Refusal as refusal:
            answer = refusal, ""
        except Exception:
            answer = None, traceback.format_exc()
        try:
            pipe.send(answer)
        except OSError:  # nobody waits for it any more
            return


def _die_with_parent() -> None:
    """Ends this process as soon as its parent is gone, even by SIGKILL, so that nobody writes on behind its back."""
    parent = parent_process()
    assert parent is not None, "a crew's processes are started by one"
    connection.wait([parent.sentinel])
    os._exit(1)
