"""The doctor of a cluster, on real hosts: a healthy one, and one on which four things are wrong with four hosts."""

import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.cluster.hosts import ROOT, Cluster, Host
from tests.cluster.runs import clock_ahead
from tests.shards.sets import write

pytestmark = pytest.mark.timeout(900)


def doctor(host: Host, hostfile: Path, *words: str | Path, folder: Path = ROOT) -> tuple[int, list[str]]:
    """The exit code and the lines of the doctor, asked on a host in a folder."""
    asked = ["doctor", "--hosts", hostfile, "--patience", "90", "--tracking.root", "/tmp/runs"]
    command = [sys.executable, "-m", "launch", *asked, *words]
    done = host.run(command, folder, timeout=600, PYTHONPATH=str(ROOT))
    assert "Traceback" not in done.stdout, done.stdout
    return done.returncode, done.stdout.splitlines()


def of(lines: list[str], check: str, state: str = "") -> list[str]:
    """The table's lines of a check, with one blank between words."""
    found = [" ".join(line.split()) for line in lines if line.startswith(("ok", "doubtful", "FAILED"))]
    return [line for line in found if line.partition(" ")[2].startswith(check) and line.startswith(state)]


def test_hosts_that_are_well_are_told_so_with_what_lies_between_them(cluster: Cluster) -> None:
    hosts = cluster.hosts[:2]
    write(cluster.shared / "doctor-shards")
    hostfile = cluster.hostfile(*hosts, name="doctor.hosts")
    code, lines = doctor(hosts[0], hostfile, "--shards", cluster.shared / "doctor-shards")
    assert lines[0] == "Asking 2 hosts: host1, host2."
    assert lines[-1].startswith("Healthy: nothing failed on 2 hosts"), "\n".join(lines)
    assert code == 0
    for check in ("ssh", "python", "code", "torch", "packages", "shards"):
        (line,) = of(lines, check)
        assert line.startswith(f"ok {check} "), line
        assert " all 2 " in line, "it is the same on both"
    for check in ("clock", "links", "sum over hosts"):  # doubtful, too, where the machine is busy
        assert of(lines, check)
        assert not of(lines, check, "FAILED")
    assert max(map(len, lines)) <= 100


def test_each_fault_names_the_host_that_has_it_and_what_to_do(cluster: Cluster) -> None:
    asks, late, other, gone = cluster.hosts
    shards = cluster.site / "doctor-shards"
    write(late.own / "site" / "doctor-shards")
    shutil.copytree(late.own / "site" / "doctor-shards", asks.own / "site" / "doctor-shards")
    (other.own / "site" / "old" / "numpy-1.26.4.dist-info").mkdir(parents=True)
    metadata = other.own / "site" / "old" / "numpy-1.26.4.dist-info" / "METADATA"
    metadata.write_text("Metadata-Version: 2.1\nName: numpy\nVersion: 1.26.4\n")
    cluster.variables(late, clock_ahead(60))
    cluster.variables(other, {"PYTHONPATH": str(cluster.site / "old")})
    cluster.link_down(gone)
    try:
        hostfile = cluster.hostfile(late, other, gone, name="doctor.hosts")
        code, lines = doctor(asks, hostfile, "--shards", shards, "--measure", "False")
    finally:
        cluster.link_up(gone)
        for host in (late, other):
            cluster.variables(host, {})
    assert code == 1
    assert of(lines, "ssh", "FAILED")[0].startswith("FAILED ssh host4 ssh: connect to host host4 port 22: ")
    assert re.match(r"FAILED clock host2 (59|60)\.\d s ahead of the others", of(lines, "clock", "FAILED")[0])
    assert not [line for line in of(lines, "clock", "FAILED") if "host3" in line.partition("ahead")[0]]
    assert of(lines, "packages", "FAILED")[0].startswith("FAILED packages host3 numpy 1.26.4, but host2 has")
    assert of(lines, "shards", "FAILED")[0].startswith("FAILED shards host3 ")
    assert "here" in of(lines, "python")[0], "the machine that asks is none of the hosts"
    remedies = " ".join(" ".join(lines[lines.index("What to do") :]).split())
    assert "clock host2: set it by NTP" in remedies
    assert "ssh host4: try `ssh host4 true`" in remedies
    assert lines[-1].startswith("Not healthy: 4 failed on 4 hosts: ssh (host4)")


def test_a_host_without_this_project_s_folder_is_told_what_it_lacks(cluster: Cluster) -> None:
    first, second = cluster.hosts[:2]
    (first.own / "site" / "mine").mkdir()
    hostfile = cluster.hostfile(second, name="doctor.hosts")
    code, lines = doctor(first, hostfile, folder=cluster.site / "mine")
    assert code == 1
    assert of(lines, "ssh")[0].startswith("ok ssh host2 ")
    (line,) = of(lines, "doctor")
    assert line.startswith("FAILED doctor host2 ")
    assert "No such file or directory" in " ".join(" ".join(lines).split())
    assert f"have this project and its python there as here: {cluster.site / 'mine'}," in " ".join(
        " ".join(lines).split()
    )
