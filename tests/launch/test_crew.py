"""Tasks are shared out over processes; whatever happens to one of them, nobody waits for ever and nobody is left."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from launch.crew import Died, _serve, share_out
from launch.refusal import Refusal


def square(number: int) -> int:
    return number * number


def refuse_odd(number: int) -> int:
    time.sleep(0.3 if number == 1 else 0)  # the first refusal is the slowest
    if number % 2:
        raise Refusal(f"{number} is odd.")
    return number


def fail(number: int) -> int:
    return 1 // number


def die_of_five(number: int) -> int:
    if number == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def whoami(number: int) -> int:
    return os.getpid()


def leave(number: int) -> int:
    os._exit(7)


def sleep(number: int) -> int:
    time.sleep(60)
    return number


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_every_task_is_done_once(processes: int) -> None:
    with share_out(square, range(20), processes) as results:
        assert sorted(results) == [number * number for number in range(20)]


def test_no_task_gives_no_result() -> None:
    with share_out(square, [], 2) as results:
        assert list(results) == []


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_the_first_refusal_is_raised_as_it_is_however_fast_the_others_are(processes: int) -> None:
    with pytest.raises(Refusal, match=r"^1 is odd\.$"), share_out(refuse_odd, range(9), processes) as results:
        list(results)


def test_a_failure_comes_with_its_traceback() -> None:
    with pytest.raises(RuntimeError, match="ZeroDivisionError"), share_out(fail, [0], 2) as results:
        list(results)


def test_a_process_that_is_killed_is_an_error_that_says_so() -> None:
    killed = pytest.raises(Died, match=r"was killed by SIGKILL.*out of memory")
    with killed as caught, share_out(die_of_five, range(9), 2) as results:
        list(results)
    assert (caught.value.number, caught.value.how) == (5, "was killed by SIGKILL")


def test_work_may_be_done_apart_from_this_process() -> None:
    with share_out(whoami, [0], 1, apart=True) as results:
        assert list(results) != [os.getpid()]
    with share_out(whoami, [0], 1) as results:
        assert list(results) == [os.getpid()]


def test_a_process_that_leaves_is_an_error_that_says_so() -> None:
    with pytest.raises(ChildProcessError, match="ended with exit code 7"), share_out(leave, [0], 2) as results:
        list(results)


def test_leaving_the_block_ends_every_process_at_once() -> None:
    before = set(psutil.Process().children())
    start = time.monotonic()
    with share_out(sleep, range(2), 2) as results:
        assert results
        started = set(psutil.Process().children()) - before
    assert not psutil.wait_procs(list(started), timeout=1)[1]
    assert time.monotonic() - start < 10


def when_there(path: Path) -> Path:
    while not path.exists():
        time.sleep(0.01)
    return path


def test_a_process_whose_result_nobody_waits_for_ends_in_silence(tmp_path: Path) -> None:
    context = get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, when_there), daemon=True)
    process.start()
    theirs.close()
    ours.send(tmp_path / "there")
    ours.close()
    (tmp_path / "there").touch()
    process.join(60)
    assert process.exitcode == 0  # and no traceback of a broken pipe


def test_tasks_are_taken_only_as_they_are_needed() -> None:
    taken = []

    def tasks() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    with share_out(square, tasks(), 2) as results:
        next(results)
    assert len(taken) <= 4


def leave_a_trace(path: Path) -> Path:
    path.touch()
    return path


def test_processes_work_on_while_a_result_is_being_used(tmp_path: Path) -> None:
    wanted = [tmp_path / str(number) for number in range(6)]
    with share_out(leave_a_trace, wanted, 2) as results:
        next(results)
        while not wanted[2].exists():  # for ever, where a process waits until its result was used
            time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_process_does_not_outlive_its_parent(tmp_path: Path, number: signal.Signals) -> None:
    source = (
        "import sys; from pathlib import Path; from launch.crew import share_out\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r}); from test_crew import sleep\n"
        f"with share_out(sleep, range(2), 2) as results: Path({str(tmp_path / 'up')!r}).touch(); list(results)\n"
    )
    (tmp_path / "parent.py").write_text(f"if __name__ == '__main__':\n {source.replace(chr(10), chr(10) + ' ')}")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([os.environ["PYTHONPATH"], str(Path(__file__).parent)])}
    parent = subprocess.Popen([sys.executable, tmp_path / "parent.py"], env=environment, stderr=subprocess.DEVNULL)
    while not (tmp_path / "up").exists():
        time.sleep(0.05)
    time.sleep(1)  # until the tasks are in hand
    children = psutil.Process(parent.pid).children()
    parent.send_signal(number)
    parent.wait(10)
    workers = [child for child in children if "resource_tracker" not in " ".join(_words(child))]
    assert not psutil.wait_procs(workers, timeout=30)[1]


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []
