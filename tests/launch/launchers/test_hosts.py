"""What hosts say of themselves is checked before anything starts; that they do is tested with real hosts."""

from collections.abc import Mapping
from typing import Any

import pytest

from launch.job import Job
from launch.launchers.hostfile import Host
from launch.launchers.hosts import check
from launch.launchers.ssh import Facts
from launch.refusal import Refusal

HOSTS = (Host("a", 2), Host("b", 4))


def told(**values: Any) -> Facts:
    """What a host says of itself, but for some facts."""
    usual: Mapping[str, Any] = {"name": "x", "asked_from": "10.0.0.1", "asked_at": "10.0.0.2", "address": "10.0.0.2"}
    return Facts(**{**usual, "port": 4711, "interfaces": ["lo", "eth0"], "cores": 8, "gpus": 0, **values})


@pytest.mark.parametrize("facts", [(told(), told(port=-1)), (told(gpus=2), told(gpus=8, machine="1"))])
def test_hosts_with_what_their_processes_need_are_taken(facts: tuple[Facts, Facts]) -> None:
    check(HOSTS, facts, Job(interface="eth0"))


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ((told(name="first", port=-1), told()), "must be free, but 4711 of first is in use: give another --job.port"),
        ((told(), told(interfaces=["lo", "ib0"])), r"'eth0' \(job.interface\) is none of b's \(lo, ib0\)"),
        ((told(machine="1"), told(machine="1")), "every machine once, but 'a' and 'b' are both x: put all its proc"),
        ((told(gpus=2), told()), "all hosts must have GPUs or none, but 'a' has 2 and 'b' has 0"),
        ((told(gpus=2), told(gpus=3)), "the hostfile gives 'b' slots=4, and it has 3: give it at most as many"),
    ],
)
def test_what_no_ranks_can_be_started_with_is_refused(facts: tuple[Facts, Facts], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        check(HOSTS, facts, Job(interface="eth0", port=4711))
