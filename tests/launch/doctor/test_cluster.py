"""Reports of several hosts against one another, their clocks and their links; over ssh see tests/cluster."""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from launch.doctor.clocks import Offset
from launch.doctor.clocks import judge as judge_clocks
from launch.doctor.cluster import compared
from launch.doctor.finding import Report, fine
from launch.doctor.links import Link, Measured
from launch.doctor.paths import judge

ROOT = Path(__file__).parents[3]


def hosts(check: str, *same: str) -> list[Report]:
    """Hosts `a`, `b`, … on which a check found this and that."""
    return [Report("abcd"[number], (fine(check, f"found {each}", each),)) for number, each in enumerate(same)]


def test_hosts_that_are_the_same_stay_fine() -> None:
    reports = hosts("torch", "2.13.0", "2.13.0")
    assert compared(reports) == reports


def test_another_version_is_a_fault_of_the_host_that_has_it() -> None:
    a, b, c = compared(hosts("torch", "2.13.0", "2.12.1", "2.13.0"))
    assert (a.findings[0].state, c.findings[0].state) == ("fine", "fine")
    assert (b.findings[0].state, b.findings[0].found) == ("failed", "2.12.1, but a has 2.13.0")
    assert b.findings[0].remedy == "install the same on every host (constraints.txt)"


def test_of_many_packages_those_that_differ_are_named() -> None:
    reports = hosts("packages", "deepspeed 0.19.8, numpy 2.4.6", "deepspeed 0.19.7, numpy 2.4.6")
    assert compared(reports)[1].findings[0].found == "deepspeed 0.19.7, but a has deepspeed 0.19.8"


def test_another_shard_set_is_a_fault_told_by_the_beginnings_of_both_digests() -> None:
    found = compared(hosts("shards train", "a" * 64, "b" * 64))[1].findings[0]
    assert (found.state, found.found) == ("failed", f"{'b' * 12}, but a has {'a' * 12}")
    assert found.remedy == "copy the same set to every host"


def test_another_kind_of_gpu_is_doubtful() -> None:
    found = compared(hosts("GPUs", "8 × NVIDIA H200", "8 × NVIDIA A100"))[1].findings[0]
    assert (found.state, found.found) == ("doubtful", "8 × NVIDIA A100, but a has 8 × NVIDIA H200")


def test_a_machine_that_only_starts_runs_may_differ() -> None:
    _, beside = compared(hosts("torch", "2.13.0+cu128", "2.13.0+cpu"), beside="b")
    assert beside.findings[0].state == "doubtful"


def test_the_first_host_that_answered_is_what_others_are_compared_with() -> None:
    silent = Report("x", ())
    assert compared([silent, *hosts("torch", "1", "2")])[2].findings[0].found == "2, but a has 1"
    assert compared([silent]) == [silent]


def test_clocks_near_one_another_are_fine_and_a_wrong_one_is_named() -> None:
    found = judge_clocks({"a": Offset(0.0004, 0.0003), "b": Offset(60.0, 0.002), "c": Offset(-0.004, 0.001)})
    assert [(each.state, each.found) for each in found.values()] == [
        ("fine", "within 1 ms of the others"),
        ("failed", "60.0 s ahead of the others (± 0.002 s)"),
        ("fine", "within 10 ms of the others"),
    ]
    assert "set it by NTP" in found["b"].remedy


def test_a_wrong_clock_of_this_machine_makes_no_host_wrong() -> None:
    found = judge_clocks({name: Offset(-3600.0, 0.001) for name in "abc"})
    assert {each.state for each in found.values()} == {"fine"}


def test_a_slow_answer_is_no_wrong_clock() -> None:
    assert judge_clocks({"a": Offset(6.0, 6.0)})["a"].state == "fine"
    assert judge_clocks({"a": Offset(2.0, 0.01), "b": Offset(0.0, 0.01)})["a"].state == "doubtful"


def links(*rates: tuple[int, int, float]) -> Measured:
    return Measured(tuple(Link(left, right, 0.0001, rate) for left, right, rate in rates), 64 * 2**20, 0.05)


def test_a_host_whose_links_are_slow_is_named_and_the_others_are_not() -> None:
    measured = links((0, 1, 2e9), (0, 2, 2e8), (0, 3, 2e9), (1, 2, 2e8), (1, 3, 2e9), (2, 3, 2e8))
    found = judge(list("abcd"), measured)
    assert {name: each[0].state for name, each in found.items()} == {
        "a": "fine",
        "b": "fine",
        "c": "doubtful",
        "d": "fine",
    }
    assert found["c"][0].found == "200 MB/s, 100 µs to the others, where the middle of all is 1.1 GB/s"
    assert found["a"][1].found == "64 MiB in 50 ms"


def test_a_link_slower_than_a_gigabit_is_doubtful_also_where_there_is_no_other() -> None:
    found = judge(["a", "b"], links((0, 1, 1e7)))
    assert (found["a"][0].state, found["a"][0].found) == ("doubtful", "10 MB/s, 100 µs to the others, slowest to b")


def test_ranks_measure_every_pair_and_the_sum(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    processes = [rank(number, 3, port, 100) for number in range(3)]
    said = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0, 0, 0], said
    measured = Measured.from_json(said[0].splitlines()[-1])
    assert sorted((link.left, link.right) for link in measured.links) == [(0, 1), (0, 2), (1, 2)]
    assert all(link.bandwidth > 0 and link.latency > 0 for link in measured.links)
    assert measured.reduce_bytes >= 2**20
    assert measured.reduce_seconds > 0


def test_a_rank_that_waits_for_others_ends_by_itself() -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        process = rank(1, 2, nobody.getsockname()[1], 4)
        process.communicate(timeout=100)
    assert process.returncode in (1, -signal.SIGALRM)


def rank(number: int, size: int, port: int, seconds: float) -> "subprocess.Popen[str]":
    """A rank that measures on this machine."""
    place = {"RANK": str(number), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    place |= {"GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "launch.doctor.links", "gloo", str(seconds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | place, cwd=ROOT, stdout=pipe, stderr=subprocess.STDOUT, text=True)


def test_measures_survive_their_way_over_ssh() -> None:
    measured = links((0, 1, 1e9))
    assert Measured.from_json(measured.to_json()) == measured
    with pytest.raises(json.JSONDecodeError):
        Measured.from_json("Traceback")
