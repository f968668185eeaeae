"""What the pods of a Kubernetes manifest would run is run: one command on each of two hosts."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from launch.job import Job
from launch.launchers.kubernetes import render
from launch.launchers.pods import HOSTFILE, PLACE
from tests.cluster.hosts import Cluster, signalled
from tests.cluster.runs import Bench

pytestmark = pytest.mark.timeout(1800)


def test_pods_stop_together_when_one_of_them_must_go_and_their_successors_end_the_run(finished: Bench) -> None:
    words = finished.pretrain("pods", None)[4:]
    job = Job.model_validate({"hosts": 2, "kubernetes": {"name": "pods", "gpus": 0}, "interface": "eth0"})
    config, _, work = render("pretrain", [*words, "--job.interface", "eth0"], job)
    with _found_by_name(finished.cluster, config["data"]["hosts"]) as hostfile:
        assert _run(finished, work, hostfile, asked=True) == [os.EX_TEMPFAIL] * 2
        rules = work["spec"]["podFailurePolicy"]["rules"]
        assert {"action": "Ignore", "onExitCodes": {"operator": "In", "values": [os.EX_TEMPFAIL]}} in rules
        assert not (finished.cluster.shared / "pods" / "encoder").exists()
        assert _run(finished, work, hostfile, asked=False) == [0, 0]
    expected, found = finished.weights("two"), finished.weights("pods")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def _run(bench: Bench, work: dict[str, Any], hostfile: Path, asked: bool) -> list[int]:
    """The pods' exit codes; where they are asked to stop, the second one is, once both have begun."""
    (container,) = work["spec"]["template"]["spec"]["containers"]
    values = {each["name"]: each["value"] for each in container["env"] if "value" in each}
    with ExitStack() as running:
        pods = []
        for number, host in enumerate(bench.cluster.hosts[:2]):
            args = [
                word.replace(HOSTFILE, str(hostfile)).replace(f"$({PLACE})", str(number)) for word in container["args"]
            ]
            pods.append(running.enter_context(host.started([sys.executable, "-m", "launch", *args], **values)))
        if asked:
            _wait_for(bench.cluster.shared / "pods" / "checkpoints")
            signalled(pods[1], signal.SIGTERM)
        said = [pod.communicate(timeout=600)[0] for pod in pods]
        codes = [pod.returncode for pod in pods]
    assert set(codes) <= {0, os.EX_TEMPFAIL}, "".join(said)
    return codes


@contextmanager
def _found_by_name(cluster: Cluster, hostfile: str) -> Iterator[Path]:
    """The manifest's hostfile, whose names mean two hosts, as a cluster's name service would have it."""
    file = cluster.shared / "pods.hosts"
    file.write_text(hostfile)
    names = [line.split()[0] for line in hostfile.splitlines()]
    hosts = cluster.hosts[:2]
    lines = "".join(f"{host.address} {name}\n" for host, name in zip(hosts, names, strict=True))
    known = [(host.own / "etc" / "hosts", (host.own / "etc" / "hosts").read_text()) for host in hosts]
    for path, text in known:
        path.write_text(text + lines)
    try:
        yield file
    finally:
        for path, text in known:
            path.write_text(text)


def _wait_for(checkpoints: Path) -> None:
    end = time.monotonic() + 240
    while not list(checkpoints.glob("step-*")):
        assert time.monotonic() < end, "no checkpoint within 240 s"
        time.sleep(0.02)
