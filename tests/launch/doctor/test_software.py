"""Installed software: which build of faiss, what is missing, and what must be the same on every host."""

import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from launch.doctor import software
from launch.doctor.finding import Finding


def found(check: str) -> Finding:
    return next(each for each in software.check() if each.check == check)


def install(site: Path, name: str, number: str) -> None:
    """What pip leaves of a distribution beside its modules."""
    folder = site / f"{name.replace('-', '_')}-{number}.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {number}\n")


def test_this_environment_is_fine_and_tells_what_other_hosts_must_have() -> None:
    checks = software.check()
    assert {each.check for each in checks} == {"python", "code", "torch", "packages", "faiss"}
    assert all(each.state == "fine" and each.same for each in checks), checks
    assert f"deepspeed {version('deepspeed')}, mlflow {version('mlflow')}, numpy" in found("packages").same


def test_two_builds_of_faiss_at_once_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "faiss-gpu", "1.15.1")
    monkeypatch.syspath_prepend(str(tmp_path))
    faiss = found("faiss")
    assert faiss.state == "failed"
    assert faiss.found == f"faiss-cpu {version('faiss-cpu')} and faiss-gpu 1.15.1 at once"
    assert faiss.remedy.endswith("pip uninstall faiss-cpu faiss-gpu, then install one of them")


def test_a_build_of_faiss_that_cannot_be_imported_is_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "faiss.py").write_text("raise ImportError('libcudart.so.12: cannot open shared object file')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "faiss", raising=False)
    faiss = found("faiss")
    assert faiss.state == "failed"
    assert "cannot be imported (libcudart.so.12: cannot open shared object file)" in faiss.found


def test_what_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path, "numpy", "2.0")
    install(tmp_path, "MLflow", "3.13.0")
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    packages = found("packages")
    assert packages.state == "failed"
    assert packages.found.startswith("deepspeed and safetensors and webdataset not installed; mlflow 3.13.0, numpy 2.0")
    assert found("faiss").state == "doubtful"
    assert "'.[cpu]', '.[cuda12]', '.[cuda13]'" in found("faiss").remedy


def test_another_version_of_the_code_is_told_by_its_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(software, "source_digest", lambda: "0123456789abcdef" * 4)
    assert found("code").same == "0123456789ab"
