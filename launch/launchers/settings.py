"""What a cluster's scheduler is asked for: `--job.slurm.…` and `--job.kubernetes.…`."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, field_validator, model_validator

from launch.settings import Settings

OPTION = re.compile(r"[a-z][a-z0-9-]*(=[^\s#]+)?")
LABEL = re.compile(r"[A-Za-z0-9./_-]+=[A-Za-z0-9._-]+")


class SlurmSettings(Settings):
    """A Slurm job: `job.hosts` nodes with `job.processes` tasks each."""

    name: str = Field("", description="what the job is called in the queue; empty: soundsight-STAGE")
    partition: str = Field("", description="partition to run in; empty: the cluster's own choice")
    account: str = Field("", description="account to charge; empty: your default one")
    qos: str = Field("", description="quality of service; empty: your default one")
    time: str = Field("", description="time limit in Slurm's words, such as 12:00:00 or 2-00; empty: the partition's")
    gpus: int = Field(1, ge=0, le=1, description="GPUs for each process; 0 runs on CPUs")
    cpus: int = Field(0, ge=0, description="CPU cores for each process; 0 leaves it to the cluster")
    memory: str = Field("", description="memory of each node, such as 200G; empty: the partition's default")
    notice: int = Field(120, ge=10, description="seconds before the time limit at which a checkpoint is written")
    requeues: int = Field(100, ge=0, description="times that a job is queued again to go on after it was asked to stop")
    logs: Path = Field(Path("logs"), description="folder on the shared disk for the job's output, a file a job")
    setup: str = Field("", description="shell commands that come first, such as 'module load cuda/12.8'")
    options: tuple[str, ...] = Field(
        (), description="more options of sbatch without their dashes, such as constraint=h100 exclusive"
    )

    @field_validator("options")
    @classmethod
    def _are_options(cls, options: tuple[str, ...]) -> tuple[str, ...]:
        for option in options:
            if not OPTION.fullmatch(option):
                raise ValueError(f"must be sbatch's own words without dashes, such as constraint=h100, not {option!r}")
        return options

    @field_validator("name", "partition", "account", "qos", "time", "memory")
    @classmethod
    def _is_one_word(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9._:,+@/-]*", value) or value.startswith("-"):
            raise ValueError(f"must be one word of letters, digits and ._:,+@/-, not {value!r}")
        return value


class KubernetesSettings(Settings):
    """A Kubernetes job: `job.hosts` pods with `job.processes` processes each."""

    kind: Literal["job", "jobset"] = Field("job", description="job (batch/v1) or jobset (needs its controller)")
    name: str = Field("", description="what the job is called; empty: soundsight-STAGE")
    namespace: str = Field("", description="namespace to run in; empty: kubectl's current one")
    image: str = Field("soundsight:0.1.0", description="image built from the Dockerfile, with a tag or a digest")
    gpus: int = Field(1, ge=0, le=1, description="GPUs (nvidia.com/gpu) for each process; 0 runs on CPUs")
    cpus: int = Field(8, ge=1, description="CPU cores of each pod")
    memory: str = Field("64Gi", description="memory of each pod, shared memory included")
    shared_memory: str = Field("8Gi", description="size of /dev/shm, through which processes exchange tensors")
    data: str = Field("data", description="volume claim that is mounted read-only at /app/data; empty: none")
    runs: str = Field("runs", description="volume claim (ReadWriteMany) that is mounted at /app/runs")
    secret: str = Field("", description="Secret whose keys become variables, such as MLFLOW_TRACKING_PASSWORD")
    selector: tuple[str, ...] = Field((), description="labels of the nodes to run on, such as gpu.product=H200")
    user: int = Field(10001, ge=1, description="number of the user and group that processes run as; never root")
    grace: int = Field(120, ge=10, description="seconds that a pod which must go gets to write a checkpoint")

    @field_validator("name", "namespace", "data", "runs", "secret")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not re.fullmatch(r"[a-z]([-a-z0-9]{0,38}[a-z0-9])?", value):
            raise ValueError(f"must be a name of at most 40 of a-z, 0-9 and -, from a letter on, not {value!r}")
        return value

    @field_validator("memory", "shared_memory")
    @classmethod
    def _is_a_quantity(cls, value: str) -> str:
        if not re.fullmatch(r"[1-9][0-9]*(Ki|Mi|Gi|Ti|k|M|G|T)?", value):
            raise ValueError(f"must be bytes as Kubernetes writes them, such as 64Gi, not {value!r}")
        return value

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if _bytes(self.memory) <= _bytes(self.shared_memory):
            raise ValueError(
                f"job.kubernetes.memory must be more than shared_memory, which is part of it, but is {self.memory} "
                f"beside {self.shared_memory}: raise it."
            )
        return self

    @field_validator("image")
    @classmethod
    def _is_pinned(cls, value: str) -> str:
        name = value.rpartition("/")[2]
        if not re.fullmatch(r"[A-Za-z0-9._/:@-]+", value) or (":" not in name and "@" not in name):
            raise ValueError(f"must name an image with its tag or digest, not {value!r}")
        if name.endswith(":latest"):
            raise ValueError(f"must name one image for ever, and 'latest' changes: {value!r}")
        return value

    @field_validator("selector")
    @classmethod
    def _are_labels(cls, labels: tuple[str, ...]) -> tuple[str, ...]:
        for label in labels:
            if not LABEL.fullmatch(label):
                raise ValueError(f"must be labels such as gpu.product=H200, not {label!r}")
        return labels


def _bytes(quantity: str) -> int:
    """The number that Kubernetes reads in a quantity such as 64Gi."""
    number, unit = quantity.rstrip("kKMGTi"), quantity.lstrip("0123456789")
    return int(number) * (1024 if unit.endswith("i") else 1000) ** ("", "k", "m", "g", "t").index(unit[:1].lower())
