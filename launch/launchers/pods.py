"""A pod of a run on Kubernetes: what it runs, what it may use, and what it may not."""

from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from launch.job import Job

HOUSE = "/app"
"""Where the image holds the code, and where the words of a command are read."""
HOSTFILE = "/etc/soundsight/hosts"
INSTANCE = "app.kubernetes.io/instance"
PLACE = "NODE_RANK"
"""The variable that tells a pod which of the job's it is."""
INDEX = "metadata.annotations['batch.kubernetes.io/job-completion-index']"
GPU = "nvidia.com/gpu"
TMP = "10Gi"
"""What a pod may write to its own disk: compiled kernels and temporary files."""


def pod(name: str, stage: str, arguments: Sequence[str], job: Job) -> dict[str, Any]:
    """A pod's metadata and spec. It starts its own processes; where there are several pods, these meet."""
    asked = job.kubernetes
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": asked.grace,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": {
            "runAsNonRoot": True,
            **dict.fromkeys(("runAsUser", "runAsGroup", "fsGroup"), asked.user),
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [_container(stage, arguments, job)],
        "volumes": _volumes(name, job),
    }
    if job.hosts > 1:
        spec["subdomain"] = name
    if asked.gpus:
        spec["tolerations"] = [{"key": GPU, "operator": "Exists", "effect": "NoSchedule"}]
    if asked.selector:
        spec["nodeSelector"] = dict(label.split("=", maxsplit=1) for label in asked.selector)
    return {"metadata": {"labels": labels_of(name)}, "spec": spec}


def labels_of(name: str) -> dict[str, str]:
    """What all that belongs to a job is found by."""
    return {"app.kubernetes.io/name": "soundsight", INSTANCE: name}


def hosts_of(name: str) -> str:
    """What the file of a job's pods is called in the cluster."""
    return f"{name}-hosts"


def _container(stage: str, arguments: Sequence[str], job: Job) -> dict[str, Any]:
    asked = job.kubernetes
    size = {"cpu": str(asked.cpus), "memory": asked.memory}
    size |= {GPU: str(job.processes)} if asked.gpus else {}
    container: dict[str, Any] = {
        "name": "stage",
        "image": asked.image,
        "args": [word.replace("$(", "$$(") for word in (stage, *arguments)] + _among_others(job),
        "workingDir": HOUSE,
        "env": _variables(job),
        "resources": {"requests": size, "limits": size | {}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": _mounts(job),
    }
    if asked.secret:
        container["envFrom"] = [{"secretRef": {"name": asked.secret}}]
    return container


def _among_others(job: Job) -> list[str]:
    """The words by which a pod starts its processes as those of one host among several."""
    if job.hosts == 1:
        return []
    words = {"no_ssh": "True", "hostfile": HOSTFILE, "node_rank": f"$({PLACE})"}
    return ["--on", "hostfile", *(word for name, value in words.items() for word in (f"--job.{name}", value))]


def _variables(job: Job) -> list[dict[str, Any]]:
    """What a process without a home, and a user that the image need not know, has to be told."""
    values = {"HOME": "/tmp", "USER": "soundsight"}
    if not job.kubernetes.gpus:
        values |= {"CUDA_VISIBLE_DEVICES": "", "DS_ACCELERATOR": "cpu"}
    variables: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in values.items()]
    if job.hosts > 1:
        variables.append({"name": PLACE, "valueFrom": {"fieldRef": {"fieldPath": INDEX}}})
    return variables


def _volumes(name: str, job: Job) -> list[dict[str, Any]]:
    asked = job.kubernetes
    volumes: list[dict[str, Any]] = [
        {"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": asked.shared_memory}},
        {"name": "tmp", "emptyDir": {"sizeLimit": TMP}},
    ]
    if asked.data:
        claim = {"claimName": asked.data, "readOnly": True}
        volumes.append({"name": "data", "persistentVolumeClaim": claim})
    if asked.runs:
        volumes.append({"name": "runs", "persistentVolumeClaim": {"claimName": asked.runs}})
    if job.hosts > 1:
        volumes.append({"name": "hosts", "configMap": {"name": hosts_of(name)}})
    return volumes


def _mounts(job: Job) -> list[dict[str, Any]]:
    asked = job.kubernetes
    mounts: list[dict[str, Any]] = [{"name": "shm", "mountPath": "/dev/shm"}, {"name": "tmp", "mountPath": "/tmp"}]
    if asked.data:
        mounts.append({"name": "data", "mountPath": f"{HOUSE}/data", "readOnly": True})
    if asked.runs:
        mounts.append({"name": "runs", "mountPath": f"{HOUSE}/runs"})
    if job.hosts > 1:
        mounts.append({"name": "hosts", "mountPath": str(PurePosixPath(HOSTFILE).parent), "readOnly": True})
    return mounts
