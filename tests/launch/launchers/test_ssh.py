"""What a host says of itself, and how its processes are ended, tried here without ssh in between."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from launch.launchers import probe
from launch.launchers.ssh import CLEAR, Facts, last_line


def facts(port: int, interface: str = "") -> Facts:
    """What this machine says of itself, as if ssh had asked it."""
    command = [sys.executable, "-", str(port), interface]
    source = Path(probe.__file__).read_text()
    variables = {"SSH_CONNECTION": "10.1.2.3 999 10.4.5.6 22"}
    ended = subprocess.run(command, input=source, env=variables, capture_output=True, text=True, check=True)
    return Facts(**json.loads(ended.stdout))


def test_a_host_knows_who_asked_at_which_address_and_what_it_has() -> None:
    found = facts(0)
    assert (found.asked_from, found.asked_at, found.address) == ("10.1.2.3", "10.4.5.6", "10.4.5.6")
    assert found.name == socket.gethostname()
    assert "lo" in found.interfaces
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.port > 0


def test_a_port_that_is_taken_is_told_from_one_that_is_free() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert facts(port).port == -1
    assert facts(port).port == port


def test_an_interface_has_its_own_address_or_none() -> None:
    assert facts(0, "lo").address == "127.0.0.1"
    assert facts(0, "none7").address == ""


def test_processes_are_known_by_a_variable_and_ended_even_if_they_do_not_listen() -> None:
    deaf = ["bash", "-c", "trap '' TERM; echo up; while :; do sleep 0.1; done"]
    plain = ["bash", "-c", "echo up; exec sleep 100"]
    mine, other = os.environ | {"OF_A_TEST": f"{os.getpid()}"}, os.environ | {"OF_A_TEST": f"{os.getpid()}0"}
    started = [
        subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)
        for command, environment in ((deaf, mine), (plain, mine), (plain, other))
    ]
    try:
        for process in started:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
        words = ["sh", "-s", f"OF_A_TEST={os.getpid()}"]
        assert subprocess.run(words, input=CLEAR, text=True, check=False, timeout=60).returncode == 0
        assert [process.wait(timeout=10) for process in started[:2]] == [-9, -15]
        assert started[2].poll() is None, "another value is another's process"
    finally:
        for process in started:
            process.kill()


def test_the_last_line_of_what_was_said_is_the_reason() -> None:
    assert last_line("Warning: x\nssh: connect to host a port 22: No route to host\n\n").startswith("ssh: connect")
    assert last_line("") == "it said nothing"
