"""The cluster: the doctor of every host is asked over ssh, and what must be the same on all of them is compared."""

import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

from launch.doctor import clocks, paths
from launch.doctor.finding import Finding, Report, doubtful, failed, fine
from launch.launchers.hostfile import Host
from launch.launchers.ssh import FAILED, ask, last_line

BEGIN = 60.0
"""Seconds more than its checks may take that a host has for its answer: python, torch and the project are loaded."""
APART = {
    "code": "bring the project's folder on every host to the same version (git pull, rsync)",
    "GPUs": "ranks wait for the slowest: leave out the hosts that differ",
    "driver": "install the same driver on every host",
}
"""What to do about what differs; of anything else: install, or copy, the same."""
NEEDED = {"ssh": "openssh-client", "pdsh": "pdsh"}
"""Programs that start processes on other hosts, and the packages that have them."""
Found = Mapping[str, Sequence[Finding]]
"""What a check over hosts found, by their names."""
BEARABLE = ("GPUs", "driver", "faiss")
"""Differences that a run can live with."""


def examine(
    hosts: Sequence[Host], words: Sequence[str], patience: float, interface: str, measure: bool
) -> list[Report]:
    """A report a host. `words`: the options of the doctor on each; `measure`: whether links are measured."""
    reports = _asked(hosts, words, patience)
    well = [host for host in hosts if any(finding.check == "python" for finding in reports[host.name].findings)]
    if well:
        _add(reports, well, "clock", lambda: clocks.check(well, patience))
    if measure and len(well) > 1:
        _add(reports, well, "links", lambda: paths.check(well, patience, interface))
    return list(reports.values())


def programs() -> Finding:
    """Whether this machine has what starts processes on others."""
    missing = [name for name in NEEDED if not shutil.which(name)]
    if missing:
        remedy = f"install it here (Debian: {' and '.join(NEEDED.values())}), or start every host by --job.no_ssh"
        return failed("programs", f"{' and '.join(missing)} not found", remedy)
    return fine("programs", f"{' and '.join(NEEDED)} are here")


def compared(reports: Sequence[Report], beside: str = "") -> list[Report]:
    """The reports, in which what differs from the first one's has become a fault that names both values.

    `beside`: a host that starts runs and takes no part in them, so that a difference is only doubtful.
    """
    first = next((report for report in reports if any(finding.same for finding in report.findings)), None)
    return [_against(first, report, report.host == beside) for report in reports] if first else list(reports)


def _asked(hosts: Sequence[Host], words: Sequence[str], patience: float) -> dict[str, Report]:
    doctor = [sys.executable, "-m", "launch", "doctor", *words, "--report", "json"]
    command = f"cd {shlex.quote(str(Path.cwd()))} && exec {shlex.join(doctor)}"
    with ThreadPoolExecutor(min(64, len(hosts))) as pool:
        answers = pool.map(lambda host: ask(host, command, seconds=patience + BEGIN), hosts)
        return {
            host.name: _report(host, answer.returncode, answer.stdout, answer.stderr)
            for host, answer in zip(hosts, answers, strict=True)
        }


def _report(host: Host, code: int, said: str, errors: str) -> Report:
    """What a host's doctor said, or why it said nothing."""
    reached = fine("ssh", "answers without a password")
    if code == FAILED:
        remedy = f"try `ssh {host.name} true`, and mend the hostfile, ~/.ssh/config, known_hosts or authorized_keys"
        return Report(host.name, (failed("ssh", last_line(errors), remedy),))
    try:
        report = Report.from_json(host.name, said.strip().splitlines()[-1] if said.strip() else "")
    except ValueError:
        remedy = f"have this project and its python there as here: {Path.cwd()}, {sys.executable}"
        why = last_line(errors) if errors.strip() else f"it said nothing that is a report, exit code {code}"
        return Report(host.name, (reached, failed("doctor", why, remedy)))
    return replace(report, findings=(reached, *report.findings))


def _add(reports: dict[str, Report], hosts: Sequence[Host], name: str, check: Callable[[], Found]) -> None:
    """Adds what a check over hosts found to their reports; where it breaks down, that."""
    try:
        findings = check()
    except Exception as error:
        broken = failed(name, f"the check broke down: {type(error).__name__}: {error}", "try it by hand (ssh, ping)")
        findings = {host.name: [broken] for host in hosts}
    for host, found in findings.items():
        reports[host] = replace(reports[host], findings=(*reports[host].findings, *found))


def _against(first: Report, report: Report, beside: bool) -> Report:
    right = {finding.check: finding.same for finding in first.findings if finding.same}
    findings = tuple(_differs(finding, right.get(finding.check, ""), first.host, beside) for finding in report.findings)
    return replace(report, findings=findings)


def _differs(finding: Finding, right: str, host: str, beside: bool) -> Finding:
    if not finding.same or not right or finding.same == right or finding.state == "failed":
        return finding
    ours, theirs = _difference(finding.same, right)
    found = f"{ours}, but {host} has {theirs}"
    remedy = APART.get(finding.check) or (
        "copy the same set to every host"
        if finding.check.startswith("shards")
        else "install the same on every host (constraints.txt)"
    )
    told = doubtful if beside or finding.check in BEARABLE else failed
    return told(finding.check, found, remedy, finding.same)


def _difference(ours: str, theirs: str) -> tuple[str, str]:
    """The parts of two lists in which they differ; of a digest its beginning."""
    left, right = ours.split(", "), theirs.split(", ")
    only = [
        ", ".join(_short(word) for word in one if word not in other) for one, other in ((left, right), (right, left))
    ]
    return only[0] or "nothing", only[1] or "nothing"


def _short(word: str) -> str:
    return word[:12] if len(word) == 64 and set(word) <= set("0123456789abcdef") else word


def name_of_this(reports: Sequence[Report]) -> str:
    """What this machine is called among the hosts; empty where it is none of them."""
    own = socket.gethostname()
    return next((report.host for report in reports if report.machine == own), "")
