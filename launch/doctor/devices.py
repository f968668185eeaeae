"""Devices: GPUs, their driver, CUDA and NCCL, as torch sees them; without GPUs the cores and the memory."""

import glob
import os
import re
import shutil
import subprocess

import torch

from launch.doctor.finding import Finding, doubtful, failed, fine

BUSY = 0.1
"""Share of a GPU's memory from which it counts as taken by others."""
QUERY = ("nvidia-smi", "--query-gpu=name,driver_version,memory.used,memory.total", "--format=csv,noheader,nounits")
NODES = "/dev/nvidia[0-9]*"
"""The files by which a machine shows its GPUs."""


def check() -> list[Finding]:
    """What a run on this machine computes on."""
    there = len(glob.glob(NODES))
    if not torch.cuda.is_available():
        return [_unseen(there)] if there else [_processors()]
    count = torch.cuda.device_count()
    names = ", ".join(sorted({torch.cuda.get_device_name(number) for number in range(count)}))
    found = f"{count} × {names}, CUDA {torch.version.cuda}, NCCL {_nccl()}"
    return [fine("GPUs", found, found), *_driver()]


def _unseen(there: int) -> Finding:
    """The machine has GPUs that torch does not see."""
    found = f"{there} on this machine, but torch sees none"
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return doubtful("GPUs", f"{found}: CUDA_VISIBLE_DEVICES is empty", "unset CUDA_VISIBLE_DEVICES to use them")
    if not torch.version.cuda:
        remedy = "install torch's CUDA build: pip install torch, from an index that has it"
        return failed("GPUs", f"{found}: torch {torch.__version__} is built for CPUs", remedy)
    driver = next((word for word in _smi()[1:2]), "unknown")
    remedy = f"a driver for CUDA {torch.version.cuda} or newer is needed, or a torch built for an older CUDA"
    return failed("GPUs", f"{found}: torch is built for CUDA {torch.version.cuda}, the driver is {driver}", remedy)


def _processors() -> Finding:
    cores = len(os.sched_getaffinity(0))
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    kind = "torch is built for CPUs" if not torch.version.cuda else "torch could use them"
    return fine("GPUs", f"none, {kind}; {cores} cores, {total / 2**30:.0f} GiB of memory", "none")


def _driver() -> list[Finding]:
    """The driver's version, and the GPUs on which others work."""
    rows = [re.split(r",\s*", line) for line in _smi_lines()]
    if not rows:
        return [doubtful("driver", "nvidia-smi does not answer", "look at `nvidia-smi`, and at dmesg for Xid errors")]
    version = rows[0][1]
    findings = [fine("driver", version, version)]
    taken = [
        f"{number} ({used} of {total} MiB)" for number, (_, _, used, total) in enumerate(rows) if _busy(used, total)
    ]
    if taken:
        remedy = "see who uses them (nvidia-smi), and wait, or choose others by CUDA_VISIBLE_DEVICES"
        findings.append(doubtful("GPU memory", f"taken on {', '.join(taken)}", remedy))
    return findings


def _busy(used: str, total: str) -> bool:
    return used.isdigit() and total.isdigit() and int(used) > BUSY * int(total)


def _smi_lines() -> list[str]:
    if not shutil.which(QUERY[0]):
        return []
    try:
        asked = subprocess.run(QUERY, capture_output=True, text=True, timeout=10, check=False)
    except subprocess.TimeoutExpired:
        return []
    return asked.stdout.splitlines() if asked.returncode == 0 else []


def _smi() -> list[str]:
    """Name, driver, memory used and in all, of the first GPU; nothing when nvidia-smi does not answer."""
    return next((re.split(r",\s*", line) for line in _smi_lines()), [])


def _nccl() -> str:
    try:
        return ".".join(map(str, torch.cuda.nccl.version()))
    except (AttributeError, RuntimeError):
        return "none"
