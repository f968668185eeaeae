"""What pdsh says of its connections is heard, and the rest is passed on."""

import contextlib
import os
import subprocess
import sys

import pytest

from launch.ranks.connections import Connections

SAID = """host1: [2026-11-30 17:44:42,300] [ERROR] [launch.py:259:sigkill_handler] x exits with return code = 75
host1: [2026-11-30 17:22:10,181] [INFO] [launch.py:152:main] WORLD INFO DICT: {'host1': [0]}
host1: Read 61 videos.
host2: pdsh@host1: host9: ssh exited with exit code 1
"""


def heard(errors: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, str, str]:
    """The loss that was heard, and what was passed on to stdout and stderr."""
    connections = Connections()
    script = f"cat <<'END'\n{SAID}END\ncat >&2 <<'END'\n{errors}END\n"
    with subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        connections.listen(child.stdout, child.stderr)
        connections.close()
    shown = capsys.readouterr()
    return connections.lost, shown.out, shown.err


@pytest.mark.parametrize(
    ("line", "lost"),
    [
        ("host2: ssh exited with exit code 255", "The launcher on host2 ended (the connection was lost)."),
        ("host2: ssh exited with exit code 247", "The launcher on host2 ended (SIGKILL)."),
        ("host2: ssh exited with exit code 3", "The launcher on host2 ended (exit code 3)."),
        ("host2: ssh killed by signal 9", "The launcher on host2 ended (SIGKILL)."),
        (f"host2: ssh exited with exit code {os.EX_TEMPFAIL}", ""),
        ("host2: something else", ""),
    ],
)
def test_a_connection_that_failed_is_named_and_one_that_stopped_as_asked_is_not(
    line: str, lost: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert heard(f"pdsh@head: {line}\n", capsys)[0] == lost


def test_what_ranks_say_is_passed_on_and_the_launcher_s_chatter_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    lost, out, err = heard("host2: Refused: It must not.\npdsh@head: host2: ssh exited with exit code 2\n", capsys)
    assert out.splitlines() == SAID.splitlines()[2:]
    assert err == "host2: Refused: It must not.\n"
    assert lost == "The launcher on host2 ended (exit code 2).", "what a rank prints is no word of pdsh's"


def test_what_cannot_be_written_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that is full, and more lines than a pipe holds: whoever says them must not be kept waiting."""
    connections = Connections()
    script = "seq 100000; echo 'pdsh@head: host2: ssh exited with exit code 3' >&2"
    with (
        open("/dev/full", "w") as full,
        subprocess.Popen(["sh", "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child,
    ):
        for name in ("stdout", "stderr"):
            monkeypatch.setattr(sys, name, full)
        assert child.stdout is not None
        assert child.stderr is not None
        try:
            connections.listen(child.stdout, child.stderr)
            assert child.wait(timeout=60) == 0
        finally:
            child.kill()
        connections.close()
        monkeypatch.undo()
        with contextlib.suppress(OSError):  # what it could not write
            full.close()
    assert connections.lost == "The launcher on host2 ended (exit code 3)."
