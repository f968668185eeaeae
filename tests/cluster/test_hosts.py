"""The tests' own hosts are hosts: what the other tests take for granted of them."""

import socket
from pathlib import Path

from tests.cluster.hosts import Cluster


def test_hosts_have_names_processes_and_disks_of_their_own_and_reach_one_another_over_ssh(cluster: Cluster) -> None:
    first, second = cluster.hosts[:2]
    assert first.run(["ssh", second.name, "hostname"]).stdout == "host2\n"
    assert second.run(["ssh", first.name, "hostname", "-I"]).stdout.split() == [first.address]
    assert socket.gethostname() not in {host.name for host in cluster.hosts}
    first.run(["sh", "-c", "echo mine > /tmp/file; echo ours > file"], cluster.shared)
    (second.own / "site" / "file").write_text("theirs")
    assert first.run(["cat", "/tmp/file"]).stdout == "mine\n"
    assert second.run(["cat", "/tmp/file"]).returncode != 0
    assert second.run(["cat", cluster.shared / "file", cluster.site / "file"]).stdout == "ours\ntheirs"
    assert first.run(["ls", cluster.site / "file"]).returncode != 0
    with second.started(["sleep", "47"]) as process:
        while not second.running("sleep 47"):  # a busy machine takes a moment to get there
            assert process.poll() is None
        assert not first.running("sleep 47")
    assert not second.running("sleep 47")


def test_a_link_that_is_down_cuts_a_host_off_until_it_is_up(cluster: Cluster) -> None:
    first, second = cluster.hosts[:2]
    reach = ["ssh", "-o", "ConnectTimeout=1", second.name, "true"]
    cluster.link_down(second)
    try:
        assert first.run(reach).returncode == 255
    finally:
        cluster.link_up(second)
    assert first.run(reach).returncode == 0


def test_a_host_s_logins_have_variables_of_their_own(cluster: Cluster) -> None:
    first, second = cluster.hosts[:2]
    cluster.variables(second, {"MINE": "yes"})
    try:
        assert first.run(["ssh", second.name, "echo $MINE"]).stdout == "yes\n"
    finally:
        cluster.variables(second, {})


def test_nothing_of_them_is_seen_from_the_machine(cluster: Cluster) -> None:
    interfaces = Path("/proc/net/dev").read_text()
    assert "to-host" not in interfaces
    assert str(cluster.shared) not in Path("/proc/mounts").read_text()
