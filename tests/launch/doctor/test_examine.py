"""`python -m launch doctor` on this machine: a table, a verdict, an exit code, and a line for programs."""

import subprocess
import sys
from pathlib import Path

import pytest

from launch.__main__ import main
from launch.doctor.examine import Config
from launch.doctor.finding import Report
from launch.settings import load

ROOT = Path(__file__).parents[3]


def test_a_healthy_machine_is_told_in_a_table_and_ends_with_0(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "launch", "doctor", "--out", str(tmp_path), "--tracking.root", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
    lines = done.stdout.splitlines()
    assert lines[-1].startswith("Healthy: nothing failed on this machine"), done.stdout + done.stderr
    assert done.returncode == 0
    checks = {"python", "code", "torch", "packages", "faiss", "GPUs", "compiled", "disk", "shared", "open", "MLflow"}
    assert all(any(f" {check}" in line for line in lines) for check in checks)
    assert list(tmp_path.iterdir()) == []


def test_what_failed_makes_the_exit_code_1_for_people_and_for_programs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["doctor", "--shards", str(tmp_path / "none"), "--tracking.root", str(tmp_path)]
    with pytest.raises(SystemExit, match="1"):
        main(words)
    shown = capsys.readouterr().out
    assert "FAILED  shards " in shown
    assert shown.splitlines()[-1].startswith("Not healthy: 1 failed on this machine: shards")
    with pytest.raises(SystemExit, match="1"):
        main([*words, "--report", "json"])
    (line,) = capsys.readouterr().out.splitlines()
    report = Report.from_json("vm", line)
    assert {each.check for each in report.findings if each.state == "failed"} == {"shards"}


def test_a_hostfile_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "hosts").write_text("node-a slots=0\n")
    assert main(["doctor", "--hosts", str(tmp_path / "hosts")]) == 2
    assert "line 1 gives 'node-a' slots=0" in capsys.readouterr().err


def test_another_host_is_asked_with_the_same_options(tmp_path: Path) -> None:
    given = ["--shards", "a b", "--out", str(tmp_path), "--clear_locks", "--patience", "7"]
    config = load(Config, [], given, "test")
    assert load(Config, [], config.words(), "test") == config


def test_without_ssh_and_pdsh_no_host_is_asked_and_the_packages_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "hosts").write_text("node-a slots=1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="1"):
        main(["doctor", "--hosts", str(tmp_path / "hosts"), "--tracking.root", str(tmp_path)])
    shown = capsys.readouterr().out
    assert "FAILED  programs " in shown
    assert "ssh and pdsh not found" in shown
    assert "(Debian: openssh-client and pdsh)" in " ".join(shown.split())
