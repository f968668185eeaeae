"""Job: how many processes work on a stage, on which hosts, and how often they are started again."""

from pathlib import Path

from pydantic import Field

from launch.launchers.settings import KubernetesSettings, SlurmSettings
from launch.settings import Settings


class Job(Settings):
    """Processes of one run, on this machine or on many."""

    processes: int = Field(
        1, ge=1, description="processes on each host that train together (one a GPU, or any number on CPU)"
    )
    threads: int = Field(0, ge=0, description="CPU threads a process; 0 shares a host's cores among its processes")
    max_restarts: int = Field(
        3, ge=0, description="times that several processes which died are started again, to go on where they were"
    )
    lost_after: float = Field(
        15.0, gt=0, description="seconds without a sign of life after which a process counts as lost, and all end"
    )
    logs: Path | None = Field(
        None, description="folder where every process writes what it says, a file each; none: only rank 0 speaks"
    )
    hosts: int = Field(1, ge=1, description="hosts of a Slurm or Kubernetes job")
    hostfile: Path | None = Field(
        None, description="file with a line `NAME slots=N` for every host, for --on hostfile; the first runs rank 0"
    )
    no_ssh: bool = Field(
        False, description="whether the same command is started on every host of the hostfile by other means than ssh"
    )
    node_rank: int | None = Field(
        None, ge=0, description="with no_ssh: which host of the hostfile this one is, the first being 0"
    )
    interface: str = Field(
        "", description="network interface that processes of several hosts talk over, such as eth0 or ib0; empty: found"
    )
    port: int = Field(
        0, ge=0, le=65535, description="port of rank 0's host where all processes meet; 0: a free one, or 29500 unasked"
    )
    wait_for_hosts: float = Field(
        600.0, ge=0, description="seconds that a start which follows a death waits until every host answers again"
    )
    slurm: SlurmSettings = SlurmSettings()
    kubernetes: KubernetesSettings = KubernetesSettings()
