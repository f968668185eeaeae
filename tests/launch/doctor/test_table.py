"""The table: every line is read in 100 columns, equal findings are one line, remedies and the verdict name hosts."""

import io

import pytest
from rich.console import Console

from launch.doctor.finding import Finding, Report, doubtful, failed, fine
from launch.doctor.table import show, together, verdict, worst

WELL = (fine("python", "3.11.7", "3.11.7"), fine("disk of out", "71 GiB free of 252 GiB in /data"))
LONG = "ssh: connect to host node-b port 22: " + "no route to host, " * 8
CLUSTER = [
    Report("node-a", (*WELL, doubtful("clock", "0.9 s ahead of the others", "set it by NTP"))),
    Report("node-b", (failed("ssh", LONG, "try `ssh node-b true`"),)),
    Report("node-c", (WELL[0], fine("disk of out", "9,000 GiB free of 9,100 GiB in /data"))),
]


def test_a_log_gets_plain_lines_of_at_most_100_columns(capsys: pytest.CaptureFixture[str]) -> None:
    show(CLUSTER)
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() for line in lines)
    assert lines[1:3] == [
        "ok        python       node-a, node-c  3.11.7",
        "ok        disk of out  node-a, node-c  node-a: 71 GiB free of 252 GiB in /data; the others likewise",
    ]
    assert "doubtful  clock        node-a          0.9 s ahead of the others" in lines
    assert lines[-5:-3] == ["What to do", "-  ssh    node-b: try `ssh node-b true`."]
    assert lines[-3] == "-  clock  node-a: set it by NTP."
    assert lines[-1] == "Not healthy: 1 failed on 3 hosts: ssh (node-b); 1 is doubtful."


def test_one_machine_is_told_without_hosts(capsys: pytest.CaptureFixture[str]) -> None:
    show([Report("vm", (*WELL, failed("open files", "64 a process", "raise it: ulimit -n 65536")))])
    lines = capsys.readouterr().out.splitlines()
    assert "FAILED  open files   64 a process" in lines
    assert "-  open files  raise it: ulimit -n 65536." in lines
    assert lines[-1] == "Not healthy: 1 failed on this machine: open files."


def test_a_healthy_cluster_is_told_so() -> None:
    reports = [Report(name, WELL) for name in ("node-a", "node-b")]
    assert verdict(reports) == "Healthy: nothing failed on 2 hosts."
    assert worst(reports) == "fine"
    assert [hosts for _, hosts in together(reports)] == [("node-a", "node-b")] * 2


def test_what_is_wrong_with_different_hosts_is_never_one_line() -> None:
    differ = [Report(name, (failed("clock", f"{name} s ahead", "set it"),)) for name in ("10", "20")]
    assert [(finding.found, hosts) for finding, hosts in together(differ)] == [
        ("10 s ahead", ("10",)),
        ("20 s ahead", ("20",)),
    ]


def test_of_a_hundred_hosts_the_first_are_named() -> None:
    reports = [Report(f"n{number}", (failed("ssh", "no", "mend it"),)) for number in range(99)]
    assert verdict([*reports, Report("n99", WELL)]).startswith("Not healthy: 1 failed on 100 hosts: ssh (n0, n1, n2, ")
    assert "n7 and 91 more" in verdict([*reports, Report("n99", WELL)])


def test_a_narrow_terminal_is_kept_to() -> None:
    shown = io.StringIO()
    show(CLUSTER, Console(file=shown, force_terminal=True, width=72, color_system=None, legacy_windows=False))
    assert max(map(len, shown.getvalue().splitlines())) <= 72


def test_markup_in_what_was_found_is_shown_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    show([Report("vm", (failed("MLflow", "[Errno 111] refused [/]", "start [it]"),))])
    shown = capsys.readouterr().out
    assert "[Errno 111] refused [/]" in shown
    assert "start [it]." in shown


def test_a_report_survives_its_way_over_ssh() -> None:
    report = Report.of_this_machine([*WELL, failed("a", "b — ü", "c", "d")])
    assert Report.from_json(report.host, report.to_json()) == report


@pytest.mark.parametrize(
    "line",
    [
        "",
        "no JSON",
        "[]",
        "{}",
        '{"machine": "a", "findings": [{"check": "a"}]}',
        '{"machine": "a", "findings": [{"check": "a", "found": "b", "state": "failed"}]}',
        '{"machine": "a", "findings": [{"check": "a", "found": "b", "state": "odd", "remedy": "c"}]}',
    ],
)
def test_what_is_no_report_is_refused(line: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  # json's own for what is no JSON
        Report.from_json("vm", line)


def test_what_is_not_fine_has_a_remedy() -> None:
    with pytest.raises(AssertionError, match="has a remedy"):
        Finding("clock", "wrong", "failed")
