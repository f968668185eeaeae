"""Devices: a machine without GPUs, one whose GPUs torch does not see, and GPUs that others use.

Where there is no GPU, torch's answers and `nvidia-smi` are stood in for.
"""

from pathlib import Path

import pytest
import torch

from launch.doctor import devices
from launch.doctor.devices import check


def smi(folder: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Puts an `nvidia-smi` of the test's own first on the path."""
    program = folder / "nvidia-smi"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def gpus(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    """Lets torch see so many GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "NVIDIA H200")
    monkeypatch.setattr(torch.cuda.nccl, "version", lambda: (2, 27, 5))
    monkeypatch.setattr(torch.version, "cuda", "12.8")


def unseen(folder: Path, monkeypatch: pytest.MonkeyPatch, cuda: str | None) -> None:
    """A machine with a GPU that torch does not see."""
    (folder / "nvidia0").touch()
    monkeypatch.setattr(devices, "NODES", str(folder / "nvidia[0-9]*"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has GPUs")
def test_a_machine_without_gpus_is_told_by_its_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "NODES", "/nowhere/nvidia*")
    (found,) = check()
    assert found.state == "fine"
    assert found.found.startswith("none, ")
    assert " cores, " in found.found


def test_gpus_that_a_torch_for_cpus_does_not_see_are_a_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unseen(tmp_path, monkeypatch, None)
    (found,) = check()
    assert found.state == "failed"
    assert found.found == f"1 on this machine, but torch sees none: torch {torch.__version__} is built for CPUs"


def test_gpus_whose_driver_is_too_old_are_a_fault_with_both_versions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unseen(tmp_path, monkeypatch, "13.0")
    smi(tmp_path, monkeypatch, "echo 'NVIDIA A100, 525.60.13, 0, 81920'")
    (found,) = check()
    assert found.state == "failed"
    assert found.found.endswith("torch is built for CUDA 13.0, the driver is 525.60.13")


def test_gpus_that_were_hidden_on_purpose_are_no_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unseen(tmp_path, monkeypatch, "12.8")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert check()[0].state == "doubtful"


def test_gpus_are_told_with_what_must_be_the_same_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    smi(tmp_path, monkeypatch, "echo 'NVIDIA H200, 570.86.15, 3, 143771'; echo 'NVIDIA H200, 570.86.15, 5, 143771'")
    assert [(each.check, each.state, each.same) for each in check()] == [
        ("GPUs", "fine", "2 × NVIDIA H200, CUDA 12.8, NCCL 2.27.5"),
        ("driver", "fine", "570.86.15"),
    ]


def test_gpus_that_others_use_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 2)
    smi(tmp_path, monkeypatch, "echo 'NVIDIA H200, 570.86.15, 3, 143771'; echo 'NVIDIA H200, 570.86.15, 70000, 143771'")
    found = check()[-1]
    assert (found.check, found.state, found.found) == ("GPU memory", "doubtful", "taken on 1 (70000 of 143771 MiB)")


def test_a_driver_that_does_not_answer_is_doubtful(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpus(monkeypatch, 1)
    smi(tmp_path, monkeypatch, "echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    assert [(each.check, each.state) for each in check()] == [("GPUs", "fine"), ("driver", "doubtful")]
