"""Hosts that differ are refused before any work, on every rank alike, with the difference."""

import shutil
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.cluster.hosts import ROOT, Cluster, Host
from tests.cluster.runs import PYTHON, Bench, clock_ahead
from tests.pretrain.conftest import plant

PACKAGES = ("launch", "shards", "graph", "pretrain", "finetune")


def ranks(hosts: Sequence[Host], command: Sequence[str], folder: Path, *own: dict[str, str]) -> list[str]:
    """What one rank on each host said, started as a launcher starts it, once all were refused with exit code 2."""
    world = {"WORLD_SIZE": str(len(hosts)), "LOCAL_RANK": "0", "MASTER_ADDR": hosts[0].name, "MASTER_PORT": "29500"}
    world |= {"TORCH_CPP_LOG_LEVEL": "ERROR", "PYTHONDONTWRITEBYTECODE": "1"}
    with ExitStack() as all_of_them:
        processes = [
            all_of_them.enter_context(host.started(command, folder, **world, RANK=str(rank), **own[rank]))
            for rank, host in enumerate(hosts)
        ]
        said = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [2] * len(hosts), "\n".join(said)
    return said


def everywhere(said: Sequence[str], sentence: str) -> None:
    """All ranks said the same, and nothing of the program's inside."""
    assert sentence in said[0], said[0]
    for rank, each in enumerate(said[1:], start=1):
        assert f"Refused on rank {rank}: " + sentence.removeprefix("Refused: ") in each, each
    assert "Traceback" not in "".join(said)


def test_a_host_whose_clock_is_wrong(bench: Bench) -> None:
    said = ranks(bench.cluster.hosts[:2], bench.pretrain("clock", None), ROOT, {}, clock_ahead(3600))
    sentence = "The clocks of all hosts must agree to 5 s, but that of host2 is 3,600 s ahead of host1's: let NTP"
    everywhere(said, f"Refused: {sentence}")


def test_a_host_whose_settings_file_differs(bench: Bench) -> None:
    hosts = bench.cluster.hosts[:2]
    command = bench.pretrain("settings", None)
    written = Path(command[4]).read_text()
    for host, value in zip(hosts, ("20", "24"), strict=True):
        (host.own / "site" / "own.toml").write_text(written.replace("global_batch = 20", f"global_batch = {value}"))
    command[4] = str(bench.cluster.site / "own.toml")
    sentence = (
        "Refused: Every rank must have the same settings, but on rank 0 on host1 and rank 1 on host2 "
        "'batches.global_batch' is 20 and 24: give every host the same settings files and options."
    )
    everywhere(ranks(hosts, command, ROOT, {}, {}), sentence)


def test_a_host_whose_shards_are_others(bench: Bench) -> None:
    hosts, mine = bench.cluster.hosts[:2], bench.planted.shards
    command = bench.pretrain("shards", None, "--shards", str(bench.cluster.site / "shards"))
    shutil.copytree(mine, hosts[0].own / "site" / "shards")
    other = plant(bench.cluster.shared / "others", seed=8)
    shutil.copytree(other.shards, hosts[1].own / "site" / "shards")
    everywhere(
        ranks(hosts, command, ROOT, {}, {}),
        "Refused: Every rank must have the same manifest of the shards, but rank 0 on host1 has ",
    )


@pytest.fixture
def checkouts(cluster: Cluster) -> Path:
    """A folder that holds the project on the first two hosts; a file of the second's differs."""
    hosts, folder = cluster.hosts[:2], cluster.site / "checkout"
    for host in hosts:
        for package in PACKAGES:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / package, host.own / "site" / "checkout" / package, ignore=ignored)
    with (hosts[1].own / "site" / "checkout" / "pretrain" / "batches.py").open("a") as file:
        file.write("# changed\n")
    return folder


@pytest.mark.timeout(1200)
def test_a_host_with_another_version_of_the_project_through_the_launcher_and_it_is_not_started_again(
    bench: Bench, checkouts: Path
) -> None:
    hosts = bench.cluster.hosts[:2]
    command = bench.pretrain("version", bench.cluster.hostfile(*hosts, name="two.hosts"))
    run = hosts[0].run(command, checkouts, timeout=600, PYTHONDONTWRITEBYTECODE="1")
    assert run.returncode == 2, run.stdout
    sentence = "Every rank must have the same code, but rank 0 on host1 has "
    assert f"host1: Refused: {sentence}" in run.stdout
    assert f"host2: Refused on rank 1: {sentence}" in run.stdout
    assert "bring the project's folder on both to the same version." in run.stdout
    assert "Starting again" not in run.stdout
    assert not (bench.cluster.shared / "version").exists()


@pytest.mark.timeout(1200)
def test_a_host_that_refuses_before_the_ranks_have_met_does_not_leave_the_others_waiting(bench: Bench) -> None:
    hosts = bench.cluster.hosts[:2]
    command = bench.pretrain("missing", bench.cluster.hostfile(*hosts, name="two.hosts"))
    shutil.copy(command[4], hosts[0].own / "site" / "only-here.toml")
    command[4] = str(bench.cluster.site / "only-here.toml")
    run = hosts[0].run(command, timeout=600)
    assert run.returncode == 2, run.stdout
    assert f"host2: Refused on rank 1: A settings file must be readable, but '{command[4]}' is not" in run.stdout
    assert [host.running("python") for host in hosts] == [[], []]


LISTENER = """
import socket, time
taken = socket.socket()
taken.bind(("", 29501))
taken.listen()
print("up", flush=True)
time.sleep(300)
"""
REFUSALS = """
import sys
from pathlib import Path
from launch.job import Job
from launch.launchers.hosts import Hosts
from launch.launchers.one_of_many import OneOfMany
from launch.refusal import Refusal

def tried(kind, **settings):
    try:
        kind(Job(**settings))
    except Refusal as refusal:
        print(refusal)

file, folder = Path(sys.argv[1]), Path(sys.argv[2])
(folder / "unknown").write_text("host1 slots=1\\nnowhere slots=1\\n")
(folder / "doubled").write_text("host1 slots=1\\nhost2 slots=1\\n10.77.0.1 slots=1\\n")
tried(Hosts, hostfile=folder / "unknown")
tried(Hosts, hostfile=folder / "doubled")
tried(Hosts, hostfile=file, port=29501)
tried(Hosts, hostfile=file, interface="eth7")
tried(Hosts)
tried(OneOfMany, hostfile=file)
tried(OneOfMany, hostfile=file, node_rank=2, no_ssh=True)
"""


def test_hosts_ports_and_interfaces_that_are_none_are_refused_before_anything_starts(cluster: Cluster) -> None:
    first, second = cluster.hosts[:2]
    with first.started([PYTHON[0], "-c", LISTENER]) as listener:
        assert listener.stdout is not None
        assert listener.stdout.readline() == "up\n"
        file = cluster.hostfile(first, second, name="two.hosts")
        said = second.run([PYTHON[0], "-c", REFUSALS, file, cluster.shared]).stdout.splitlines()
    expected = [
        "Every host of a hostfile must answer over ssh without a password, but 'nowhere' does not (ssh: Could not",
        "A hostfile must name every machine once, but 'host1' and '10.77.0.1' are both host1: put all its processes",
        "The port where processes meet must be free, but 29501 of host1 is in use: give another --job.port",
        "The network interface must be one of every host, but 'eth7' (job.interface) is none of host1's (lo, eth0)",
        "A start over several hosts must be given their file, but there is none: add --job.hostfile FILE",
        "Without ssh every host must be told which of the hostfile's 2 it is, but --job.node_rank is None: give 0 to 1",
        "Without ssh every host must be told which of the hostfile's 2 it is, but --job.node_rank is 2: give 0 to 1",
    ]
    assert len(said) == len(expected), said
    for line, beginning in zip(said, expected, strict=True):
        assert line.startswith(beginning), line
