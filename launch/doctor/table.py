"""The table: what was found, on which hosts, a verdict, and what to do."""

import io
import sys
from collections.abc import Sequence
from dataclasses import replace

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
    console = console or Console(file=sys.stdout)
    names = [report.host for report in reports]
    if console.is_terminal:
        _print(reports, names, console)
        return
    plain = Console(width=WIDTH, color_system=None, file=io.StringIO())
    with plain.capture() as captured:
        _print(reports, names, plain)
    console.file.write("".join(f"{line.rstrip()}\n" for line in captured.get().splitlines()))
    console.file.flush()


def _print(reports: Sequence[Report], names: Sequence[str], console: Console) -> None:
    lines = together(reports)
    console.print(_table(lines, names, console))
    _remedies(lines, names, console)
    console.print(Text(verdict(reports), style=SIGNS[worst(reports)][1]))


def together(reports: Sequence[Report]) -> list[Line]:
    """Every finding once, with the hosts that have it; in the order of checks, what is worst of a check last.

    What is fine of a check is one line, also where hosts differ: it tells the first one's.
    """
    hosts = dict[tuple[str, str], list[tuple[Finding, str]]]()
    for report in reports:
        for each in report.findings:
            kind = "" if each.state == "fine" else f"{each.state} {each.found} {each.remedy}"
            hosts.setdefault((each.check, kind), []).append((each, report.host))
    order = {check: number for number, check in enumerate(dict.fromkeys(check for check, _ in hosts))}
    lines = [_line(found) for found in hosts.values()]
    return sorted(lines, key=lambda line: (order[line[0].check], STATES.index(line[0].state)))


def _line(found: Sequence[tuple[Finding, str]]) -> Line:
    finding, first = found[0]
    if any(other.found != finding.found for other, _ in found):
        finding = replace(finding, found=f"{first}: {finding.found}; the others likewise")
    return finding, tuple(dict.fromkeys(host for _, host in found))


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
        for (check, remedy), owners in told.items():
            where = f"{_hosts(list(dict.fromkeys(owners)), len(names))}: " if len(names) > 1 else ""
            grid.add_row("-", Text(check), Text(f"{where}{remedy}."))
        console.print(grid)
    console.print()
