"""Machine: what the hosts of a run are and how busy they are, sampled on each of them and logged by rank 0.

One thread a host takes the samples, with MLflow's own monitors, whose names its pages know. Other hosts hand theirs to
rank 0 through the store in which the ranks have met: nothing collective, and no store of runs to be reached from
everywhere. A sample that does not arrive is lost, and nothing waits for it.
"""

import json
import os
import platform
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from launch.place import read_place
from launch.tracking.record import Record

PATIENCE = 5.0
"""Seconds that a sample waits for the store in which the ranks met, and an end for the last sample."""
HOSTS = "machine/hosts"


@dataclass(frozen=True)
class Host:
    """One host of a run."""

    name: str
    devices: str
    """GPUs by kind and number, or the processor and its cores."""

    @classmethod
    def here(cls) -> "Host":
        """The host of this process; asking for its GPUs starts nothing on them."""
        return cls(socket.gethostname(), _gpus() or _processor())

    def told(self) -> dict[str, str]:
        """The tags of a run on this host alone."""
        return {"hosts": self.name, "devices": self.devices}


class Mailbox:
    """Where other hosts leave word for rank 0: the store in which the ranks have met."""

    def __init__(self) -> None:
        address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
        self._store = TCPStore(
            address, port, is_master=False, wait_for_workers=False, timeout=timedelta(seconds=PATIENCE)
        )

    def enter(self, host: Host) -> None:
        """Tells that there is this host."""
        self._store.append(HOSTS, f"{json.dumps(asdict(host))}\n")  # type: ignore[attr-defined]

    def hosts(self) -> list[Host]:
        """Those that there are so far, in the order in which they came."""
        lines = self._store.get(HOSTS).decode().splitlines()
        return list({found.name: found for found in (Host(**json.loads(line)) for line in lines)}.values())

    def leave(self, name: str, number: int, sample: Mapping[str, float]) -> None:
        """Puts a host's newest sample in the place of the one before."""
        self._store.set(f"machine/{name}", json.dumps([number, dict(sample)]))

    def sample(self, name: str) -> tuple[int, dict[str, float]]:
        """A host's newest sample and its number; number 0 before there is one."""
        key = f"machine/{name}"
        if not self._store.check([key]):
            return 0, {}
        number, sample = json.loads(self._store.get(key))
        return number, sample


class Gauges:
    """What can be measured of this host, under MLflow's names: CPU, memory, disk, network, and GPUs that NVML knows."""

    def __init__(self) -> None:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor

        self._monitors: list[Any] = [CPUMonitor(), DiskMonitor(), NetworkMonitor()]
        with suppress(ImportError, RuntimeError):  # no pynvml, or no NVIDIA driver
            self._monitors.append(GPUMonitor())

    def read(self) -> dict[str, float]:
        """The values of now; the CPU's is its mean since the last reading."""
        found: dict[str, float] = {}
        for monitor in self._monitors:
            monitor.collect_metrics()
            found |= monitor.aggregate_metrics()
            monitor.clear_metrics()
        return found


class Leader:
    """The host of rank 0, which logs its own samples and those that others have left."""

    def __init__(self, record: Record, mailbox: Mailbox | None, alone: bool) -> None:
        self._record, self._mailbox, self._alone = record, mailbox, alone
        self._name = socket.gethostname()
        self._told: list[Host] = []
        self._seen: dict[str, int] = {}

    def take(self, sample: Mapping[str, float]) -> None:
        """Logs this host's sample and the new ones of others."""
        values = self._named(self._name, sample)
        for host in self.tell_hosts() if self._mailbox else ():
            if self._mailbox and host.name != self._name:
                number, theirs = self._mailbox.sample(host.name)
                values |= self._named(host.name, theirs) if number > self._seen.get(host.name, 0) else {}
                self._seen[host.name] = number
        self._record.metrics(int(time.time()), values)

    def tell_hosts(self) -> list[Host]:
        """The hosts that have come so far; the run's tags name them."""
        hosts = self._mailbox.hosts() if self._mailbox else []
        if hosts != self._told:
            self._told = hosts
            devices = dict.fromkeys(host.devices for host in hosts)
            self._record.tags({"hosts": ", ".join(host.name for host in hosts), "devices": "; ".join(devices)})
        return hosts

    def _named(self, host: str, sample: Mapping[str, float]) -> dict[str, float]:
        prefix = "system/" if self._alone else f"system/{host}/"
        return {f"{prefix}{name}": value for name, value in sample.items()}


class Other:
    """Another host, which leaves its samples for rank 0."""

    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox, self._name, self._number = mailbox, socket.gethostname(), 0

    def take(self, sample: Mapping[str, float]) -> None:
        """Leaves this host's sample."""
        self._number += 1
        self._mailbox.leave(self._name, self._number, sample)


@contextmanager
def sampled(record: Record, interval: float) -> Iterator[None]:
    """While inside, the load of every host goes into the run, a point every `interval` seconds (0: none).

    Every rank calls it, and none waits for another; the first of each host samples. In the end the run's tags name all
    hosts. A point's step is the second of its time since 1970, so that those of a run that goes on come after those it
    has. A run in one process has `system/<what>`, one in several `system/<host>/<what>`.
    """
    rank, size, local_rank = read_place()
    mailbox = _mailbox() if size > 1 and local_rank == 0 else None
    leader = Leader(record, mailbox, size == 1) if rank == 0 and record.run_id else None
    take = leader.take if leader else Other(mailbox).take if rank and mailbox else None
    if take is None:
        yield
        return
    with _repeated(take, interval) if interval else nullcontext():
        yield
    if leader and mailbox:
        with suppress(RuntimeError):
            leader.tell_hosts()


@contextmanager
def _repeated(take: Callable[[Mapping[str, float]], None], interval: float) -> Iterator[None]:
    ended, gauges = threading.Event(), Gauges()

    def work() -> None:
        gauges.read()  # of the CPU the first reading of a thread says nothing: it measures from the one before
        while not ended.wait(interval):
            try:
                take(gauges.read())
            except RuntimeError:  # the store went with rank 0, or with the network
                return

    thread = threading.Thread(target=work, daemon=True, name="machine")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(PATIENCE)


def _mailbox() -> Mailbox | None:
    try:
        mailbox = Mailbox()
        mailbox.enter(Host.here())
    except RuntimeError as error:
        print(f"The load of {socket.gethostname()} is not logged, since it cannot reach rank 0: {error}.", flush=True)
        return None
    return mailbox


def _gpus() -> str:
    """The GPUs that this process may use, such as "8 × NVIDIA H200"; "" without any."""
    count = torch.cuda.device_count()
    if not count:
        return ""
    return f"{count} × {torch.cuda.get_device_name() if torch.cuda.is_initialized() else _kind_of_gpu()}"


def _kind_of_gpu() -> str:
    """The kind of the first, asked of the driver: torch would begin to use the GPU, and take of its memory."""
    try:
        import pynvml

        pynvml.nvmlInit()
        return str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
    except Exception:
        return "GPU"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
