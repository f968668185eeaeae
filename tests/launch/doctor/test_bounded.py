"""Every check ends, whatever it does: it hangs, raises, dies, or prints; what the others found is kept."""

import os
import signal
import time

import pytest

from launch.doctor.bounded import examine
from launch.doctor.finding import Finding, doubtful, fine


def hangs() -> list[Finding]:
    while True:
        time.sleep(60)


def raises() -> list[Finding]:
    raise ZeroDivisionError("by zero\nand again")


def crashes() -> list[Finding]:
    os.kill(os.getpid(), signal.SIGSEGV)
    return []


def leaves() -> list[Finding]:
    os._exit(3)


def speaks() -> list[Finding]:
    print("noise", flush=True)
    os.write(1, b"noise of a library\n")
    return [fine("speaks", "well"), doubtful("speaks", "loudly", "speak low")]


def test_each_check_is_told_by_what_it_did_and_none_keeps_the_others() -> None:
    checks = {"hangs": hangs, "raises": raises, "crashes": crashes, "leaves": leaves, "speaks": speaks}
    found = examine(checks, 3.0)
    assert [(each.check, each.state) for each in found] == [
        ("hangs", "failed"),
        ("raises", "failed"),
        ("crashes", "failed"),
        ("leaves", "failed"),
        ("speaks", "fine"),
        ("speaks", "doubtful"),
    ]
    assert found[0].found == "no answer within 3 s"
    assert found[1].found == "the check broke down: ZeroDivisionError: by zero and again"
    assert found[2].found == f"the check's process died (signal {signal.SIGSEGV.value})"
    assert found[3].found == "the check's process died (exit code 3)"
    assert all(each.remedy for each in found if each.state == "failed")


def test_what_a_check_prints_is_not_shown(capfd: pytest.CaptureFixture[str]) -> None:
    examine({"speaks": speaks, "crashes": crashes}, 10.0)
    assert capfd.readouterr() == ("", "")


def test_a_long_answer_comes_whole() -> None:
    (found,) = examine({"long": lambda: [fine("long", "x" * 1_000_000)]}, 30.0)
    assert len(found.found) == 1_000_000


def test_one_that_hangs_is_gone_afterwards() -> None:
    def tells() -> list[Finding]:
        os.write(told, str(os.getpid()).encode())
        return hangs()

    heard, told = os.pipe()
    examine({"hangs": tells}, 1.0)
    pid = int(os.read(heard, 20))
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.waitpid(pid, os.WNOHANG)
            os.kill(pid, 0)
        except (ProcessLookupError, ChildProcessError):
            return
        time.sleep(0.05)
    raise AssertionError("it is still there")
