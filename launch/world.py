"""World: which process this is among how many, on which device, with which seed."""

import os
import random
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

import numpy as np
import psutil
import torch
import torch.distributed as dist
from torch.distributed import HashStore  # type: ignore[attr-defined]

from launch.place import launched, take_place
from launch.ranks.agreement import agree, agree_on
from launch.ranks.watch import Watch
from launch.refusal import Refusal
from launch.settings import Settings

RESTARTS = "LAUNCH_RESTARTS"
"""The environment variable that tells ranks how often they were started before."""
TIMEOUT = timedelta(minutes=10)
"""How long a collective may wait for a rank that is lost."""


@dataclass(frozen=True)
class World:
    """The processes of one run, seen from one of them. One process is a world of size 1 with the same collectives."""

    rank: int
    size: int
    local_rank: int
    device: torch.device
    seed: int
    restarts: int = 0
    """How often the command has started this work before, since it died; what it wrote then is to be gone on with."""
    watch: Watch | None = None

    @classmethod
    def from_environment(cls, seed: int, lost_after: float = 15.0, settings: Settings | None = None) -> "World":
        """The world as the launcher that started this process describes it (none: one process).

        Joins the process group (nccl on CUDA, gloo elsewhere) and seeds python, numpy and torch with the same seed
        on every rank. A rank that gives no sign of life for `lost_after` seconds ends all. Raises Refusal when the
        variables contradict each other, when the port where ranks meet is taken, and on all ranks when their code,
        versions, settings or clocks differ.
        """
        rank, size, local_rank = take_place()
        check_devices(local_rank + 1)
        device = torch.device("cuda", local_rank) if torch.cuda.is_available() else torch.device("cpu")
        if device.type == "cuda":
            torch.cuda.set_device(device)
        if not dist.is_initialized():
            _join(rank, size, "nccl" if device.type == "cuda" else "gloo")
        watch = Watch(rank, size, lost_after) if size > 1 else None
        restarts = int(os.environ.get(RESTARTS, "0"))
        restarts = agree(settings, restarts) if watch else restarts
        random.seed(seed)
        np.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        return cls(rank, size, local_rank, device, seed, restarts, watch)

    @property
    def leads(self) -> bool:
        """Whether this is global rank 0: the one that speaks, tracks and writes."""
        return self.rank == 0

    def agree(self, facts: Mapping[str, str]) -> None:
        """Raises Refusal on every rank unless all found the same facts, such as the digest of what they read."""
        if self.size > 1:
            agree_on(facts)

    def barrier(self) -> None:
        """Waits until every rank is here."""
        dist.barrier()

    def close(self) -> None:
        """Leaves the process group; nothing collective may follow."""
        if self.watch:
            self.watch.close()
        if dist.is_initialized():
            dist.destroy_process_group()


def check_devices(processes: int) -> None:
    """Raises Refusal when this machine has GPUs, but fewer than there are processes to share them."""
    if torch.cuda.is_available() and processes > torch.cuda.device_count():
        raise Refusal(
            f"Every process must have a GPU of its own, but {processes} are asked for on a machine with "
            f"{torch.cuda.device_count()}: lower job.processes, or hide the GPUs (CUDA_VISIBLE_DEVICES='') to use CPUs."
        )


def port_taken(port: int | str, host: str) -> str:
    """The sentence for a port that is in use."""
    return (
        f"The port where processes meet must be free, but {port} of {host} is in use: give another --job.port, or end "
        "what uses it."
    )


def interface_towards(host: str) -> str:
    """The network interface of this machine from which a host is reached; empty when that cannot be told."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as route:
        try:
            route.connect((host, 9))  # sends nothing
        except OSError:
            return ""
        mine = route.getsockname()[0]
    held = {name: [each.address for each in addresses] for name, addresses in psutil.net_if_addrs().items()}
    return next((name for name, addresses in held.items() if mine in addresses), "")


def _join(rank: int, size: int, backend: str) -> None:
    if not launched():
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
        return
    address, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    if backend == "gloo" and "GLOO_SOCKET_IFNAME" not in os.environ and (name := interface_towards(address)):
        os.environ["GLOO_SOCKET_IFNAME"] = name  # gloo itself takes what this host's name means, which may be 127.0.1.1
    try:
        dist.init_process_group(backend, init_method="env://", rank=rank, world_size=size, timeout=TIMEOUT)
    except dist.DistNetworkError as error:
        if "EADDRINUSE" not in str(error):
            raise
        raise Refusal(port_taken(port, socket.gethostname())) from None
