"""Paths between hosts: latency, bandwidth and the sum over all of them, measured by a rank on each."""

import shlex
import statistics
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from launch.doctor.finding import Finding, doubtful, failed, fine
from launch.doctor.links import Link, Measured
from launch.launchers.hostfile import Host
from launch.launchers.ssh import Facts, ask, facts_of, last_line
from launch.refusal import Refusal

SLOWER = 3.0
"""Times slower than the middle one, from which a host's links are doubtful."""
SLOW = 100e6
"""Bytes a second below which any link is: one of 1 Gbit/s gives 117e6."""
LATE = 0.005
"""Seconds above which a latency is doubtful; within a hall it is a tenth of that at the most."""
MEET = "see that hosts reach one another on all ports (firewall), and name the network they share: --interface"
SLOWLY = "look at the cable, the switch and who else uses them; or name a faster network by --interface"


def check(hosts: Sequence[Host], seconds: float, interface: str) -> dict[str, list[Finding]]:
    """What is to be said of each host's links to the others, by its name."""
    try:
        facts = facts_of(hosts, Path.cwd(), 0, interface)
    except Refusal as refusal:
        return {hosts[0].name: [failed("links", str(refusal), MEET)]}
    lacking = {host.name for host, each in zip(hosts, facts, strict=True) if not each.address}
    if lacking:  # its own report says so
        return {name: [failed("links", f"no address on {interface}", MEET)] for name in sorted(lacking)}
    ends = _run(hosts, facts, seconds, interface)
    try:
        measured = Measured.from_json(ends[0][1].strip().splitlines()[-1])
    except (IndexError, KeyError, TypeError, ValueError):
        return {
            host.name: [failed("links", end[2] or "measured nothing", MEET)]
            for host, end in zip(hosts, ends, strict=True)
        }
    return judge([host.name for host in hosts], measured)


def judge(names: Sequence[str], measured: Measured) -> dict[str, list[Finding]]:
    """What measures mean, by host."""
    middle = statistics.median(link.bandwidth for link in measured.links)
    own = [[link for link in measured.links if rank in (link.left, link.right)] for rank in range(len(names))]
    summed = fine(
        "sum over hosts", f"{measured.reduce_bytes / 2**20:.0f} MiB in {measured.reduce_seconds * 1000:.0f} ms"
    )
    return {
        name: [_links(rank, names, links, middle), summed]
        for rank, (name, links) in enumerate(zip(names, own, strict=True))
    }


def _links(rank: int, names: Sequence[str], links: Sequence[Link], middle: float) -> Finding:
    """A host's links by its middle one, so that one bad host does not make the others look bad."""
    typical = statistics.median(link.bandwidth for link in links)
    late = statistics.median(link.latency for link in links)
    slowest = min(links, key=lambda link: link.bandwidth)
    other = names[slowest.right if slowest.left == rank else slowest.left]
    found = f"{_rate(typical)}, {_delay(late)} to the others"
    if typical < middle / SLOWER:
        return doubtful("links", f"{found}, where the middle of all is {_rate(middle)}", SLOWLY)
    if typical < SLOW or late > LATE:
        return doubtful("links", f"{found}, slowest to {other}", SLOWLY)
    return fine("links", found)


def _run(hosts: Sequence[Host], facts: Sequence[Facts], seconds: float, interface: str) -> list[tuple[int, str, str]]:
    """How the rank of each host ended: exit code, what it said, and the last line of its errors."""
    backend = "nccl" if all(each.gpus for each in facts) else "gloo"
    shared = {"WORLD_SIZE": str(len(hosts)), "MASTER_ADDR": facts[0].address, "MASTER_PORT": str(facts[0].port)}
    shared |= {"OMP_NUM_THREADS": "1", "TORCH_CPP_LOG_LEVEL": "ERROR"}
    shared |= {f"{library}_SOCKET_IFNAME": interface for library in ("GLOO", "NCCL") if interface}

    def begin(rank: int) -> tuple[int, str, str]:
        variables = [f"{name}={value}" for name, value in {**shared, "RANK": str(rank), "LOCAL_RANK": "0"}.items()]
        words = ["env", *variables, sys.executable, "-m", "launch.doctor.links", backend, f"{seconds:g}"]
        answer = ask(hosts[rank], f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(words)}", seconds=2 * seconds)
        return answer.returncode, answer.stdout, last_line(answer.stderr) if answer.stderr.strip() else ""

    with ThreadPoolExecutor(len(hosts)) as pool:
        return list(pool.map(begin, range(len(hosts))))


def _rate(bandwidth: float) -> str:
    return f"{bandwidth / 1e9:.1f} GB/s" if bandwidth >= 1e9 else f"{bandwidth / 1e6:.0f} MB/s"


def _delay(seconds: float) -> str:
    return f"{seconds * 1e3:.1f} ms" if seconds >= 1e-3 else f"{seconds * 1e6:.0f} µs"
