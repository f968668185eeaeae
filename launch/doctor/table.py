"""The table: what was found, on which hosts, a verdict, and what to do."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from launch.doctor.finding import STATES, Finding, Report

WIDTH = 100
"""Columns where there is no terminal."""
SIGNS = {"fine": ("ok", "green"), "doubtful": ("doubtful", "yellow"), "failed": ("FAILED", "bold red")}
Line = tuple[Finding, tuple[str, ...]]
"""A finding, and the hosts that have it."""


def show(reports: Sequence[Report], console: Console | None = None) -> None:
    """Prints what was found: the table, what to do, and the verdict; plain text where there is no terminal."""
    console = console or _console()
    lines = together(reports)
    console.print(_table(lines, [report.host for report in reports], console))
    _remedies(lines, [report.host for report in reports], console)
    console.print(Text(verdict(reports), style=SIGNS[worst(reports)][1]), soft_wrap=True)


def together(reports: Sequence[Report]) -> list[Line]:
    """Every finding once, with the hosts that have it; in the order of checks, and what is worst of a check last."""
    hosts = dict[Finding, list[str]]()
    for report in reports:
        for finding in report.findings:
            hosts.setdefault(finding, []).append(report.host)
    order = {check: number for number, check in enumerate(dict.fromkeys(finding.check for finding in hosts))}
    found = sorted(hosts, key=lambda finding: (order[finding.check], STATES.index(finding.state)))
    return [(finding, tuple(dict.fromkeys(hosts[finding]))) for finding in found]


def worst(reports: Sequence[Report]) -> str:
    """The worst state of all findings; fine where there are none."""
    states = {finding.state for report in reports for finding in report.findings}
    return max(states, key=STATES.index, default="fine")


def verdict(reports: Sequence[Report]) -> str:
    """One sentence: whether a run can be started."""
    lines = together(reports)
    bad = [line for line in lines if line[0].state == "failed"]
    doubts = sum(line[0].state == "doubtful" for line in lines)
    where = f"{len(reports)} hosts" if len(reports) > 1 else "this machine"
    more = f"; {doubts} {'is' if doubts == 1 else 'are'} doubtful" if doubts else ""
    if not bad:
        return f"Healthy: nothing failed on {where}{more}."
    named = ", ".join(
        finding.check + (f" ({_hosts(hosts, len(reports))})" if len(reports) > 1 else "") for finding, hosts in bad
    )
    return f"Not healthy: {len(bad)} failed on {where}: {named}{more}."


def _hosts(hosts: Sequence[str], count: int) -> str:
    """Some of so many hosts, in words."""
    if len(hosts) == count:
        return f"all {count}"
    return ", ".join(hosts[:8]) + (f" and {len(hosts) - 8} more" if len(hosts) > 8 else "")


def _console() -> Console:
    console = Console(file=sys.stdout)
    return console if console.is_terminal else Console(file=sys.stdout, width=WIDTH)


def _table(lines: Sequence[Line], names: Sequence[str], console: Console) -> Table:
    several = len(names) > 1
    table = Table(box=None, pad_edge=False, header_style="bold", expand=False, width=min(console.width, 140))
    table.add_column("", no_wrap=True)
    table.add_column("check", no_wrap=True, max_width=28)
    if several:
        table.add_column("hosts", overflow="fold", max_width=20)
    table.add_column("found", overflow="fold", ratio=1)
    for finding, hosts in lines:
        sign, style = SIGNS[finding.state]
        where = [Text(_hosts(hosts, len(names)))] if several else []
        table.add_row(Text(sign, style=style), Text(finding.check), *where, Text(finding.found))
    return table


def _remedies(lines: Sequence[Line], names: Sequence[str], console: Console) -> None:
    """What to do, once for each thing to do, what failed first."""
    wrong = sorted((line for line in lines if line[0].state != "fine"), key=lambda line: -STATES.index(line[0].state))
    told = dict[tuple[str, str], list[str]]()
    for finding, hosts in wrong:
        told.setdefault((finding.check, finding.remedy), []).extend(hosts)
    if told:
        console.print(Text("\nWhat to do", style="bold"))
        grid = Table(box=None, show_header=False, pad_edge=False, width=min(console.width, 140))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True, max_width=28)
        grid.add_column(overflow="fold", ratio=1)
        for (check, remedy), hosts in told.items():
            where = (
                "" if len(names) == 1 else "all hosts: " if len(set(hosts)) == len(names) else f"{', '.join(hosts)}: "
            )
            grid.add_row("-", Text(check), Text(where + remedy[0].upper() * (not where) + remedy[(not where) :] + "."))
        console.print(grid)
    console.print()
