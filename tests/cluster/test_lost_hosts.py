"""A host that is lost in the middle of a run, a command that is killed, and one that is asked to stop."""

import json
import os
import re
import signal
import subprocess
import time

import pytest
import torch

from tests.cluster.hosts import Host, signalled
from tests.cluster.runs import STEPS, Bench

pytestmark = pytest.mark.timeout(1800)


def wait_for_step(bench: Bench, name: str, step: int, process: "subprocess.Popen[str]") -> None:
    """Waits until a run has written the checkpoint of a step."""
    folder, end = bench.cluster.shared / name / "checkpoints", time.monotonic() + 400
    while not (folder / f"step-{step:08d}").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"no checkpoint of step {step} within 400 s"
        time.sleep(0.02)


def wait_until_empty(hosts: list[Host], seconds: float) -> None:
    """Waits until no process of ours is left on any of the hosts."""
    end = time.monotonic() + seconds
    while left := [line for host in hosts for line in host.running("python")]:
        assert time.monotonic() < end, f"left after {seconds} s: {left}"
        time.sleep(0.2)


def done(bench: Bench, name: str) -> int:
    """The steps that a run's newest checkpoint has done."""
    folder = bench.cluster.shared / name / "checkpoints"
    return json.loads((folder / (folder / "latest").read_text() / "state.json").read_text())["done"]


def test_a_host_that_loses_its_network_ends_all_others_and_the_run_goes_on_when_it_is_back(finished: Bench) -> None:
    cluster, name = finished.cluster, "cut"
    first, second, third, lost = cluster.hosts
    command = finished.pretrain(name, cluster.hostfile(name="four.hosts"))
    with first.started(command) as process:
        said = []
        try:
            wait_for_step(finished, name, 10, process)
            cluster.link_down(lost)
            assert process.stdout is not None
            for line in process.stdout:
                said.append(line)
                if line.startswith("Waiting, at most 60 s, for host4"):
                    break
            assert process.poll() is None, "".join(said)
            here = {line for line in first.running("python") if "launch pretrain" in line}
            assert here == {" ".join(command)}, "of the first host only the command is left"
            wait_until_empty([second, third, lost], 60)
            before = done(finished, name)
            assert 10 <= before < STEPS
        finally:
            cluster.link_up(lost)
        said += process.communicate(timeout=600)[0].splitlines(keepends=True)
    text = "".join(said)
    assert process.returncode == 0, text
    sentence = r"on host4\) gave no sign of life for 8 s\. Starting again from where it was: restart \d of at most 3\."
    assert re.search(sentence, text), text
    assert f"Resumed after step {before} " in text
    expected, found = finished.weights("four"), finished.weights(name)
    assert all(torch.equal(found[key], value) for key, value in expected.items())


def test_a_command_that_is_killed_leaves_no_rank_on_any_host_and_one_that_is_asked_stops_all(bench: Bench) -> None:
    cluster, name = bench.cluster, "asked"
    hosts = list(cluster.hosts[:2])
    command = bench.pretrain(name, cluster.hostfile(*hosts, name="two.hosts"), steps=100_000)
    with hosts[0].started(command) as process:
        wait_for_step(bench, name, 4, process)
        signalled(process, signal.SIGKILL)
        process.wait(timeout=30)
        wait_until_empty(hosts, 40)
    killed_at = done(bench, name)
    with hosts[0].started(command) as process:
        wait_for_step(bench, name, killed_at + 4, process)
        signalled(process, signal.SIGTERM)
        said = process.communicate(timeout=200)[0]
    assert process.returncode == os.EX_TEMPFAIL, said
    assert f"Resumed after step {killed_at} " in said
    assert f"host2: Stopped: after step {done(bench, name)} of 100000, as it was asked to" in said
    wait_until_empty(hosts, 20)
