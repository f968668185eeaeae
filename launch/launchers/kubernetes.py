"""A Kubernetes job: an Indexed Job, or a JobSet, whose pods are the hosts of one run.

    python -m launch pretrain pretrain/configs/base.toml --shards data/shards --components runs/graph \\
        --out runs/pretrained --on kubernetes --job.hosts 2 --job.processes 8 --dry-run

Every pod runs `python -m launch STAGE …` from the Dockerfile's image, in /app: the volume claim `job.kubernetes.data`
is /app/data, and `job.kubernetes.runs` is /app/runs, so the words mean there what they mean in a checkout. Pods find
one another by name, from a hostfile of theirs; no pod runs as root, has a privilege, or writes outside its volumes.
"""

import subprocess
import tomllib
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import yaml

from launch.job import Job
from launch.launchers.pods import INSTANCE, hosts_of, labels_of, pod
from launch.launchers.submission import check_secrets, check_size
from launch.progress import say
from launch.refusal import Refusal
from launch.stage import Stage, find
from launch.words import Words

Manifest = dict[str, Any]
RANKS = "ranks"
"""What the replicated job of a JobSet is called."""
REFUSED, ASKED = 2, 75
"""Exit codes of a stage that refused its inputs, and of one that stopped as it was asked to."""
SECRETS = (
    "put it into a Secret, under the variable's name (MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD), and name "
    "that by --job.kubernetes.secret."
)
PATIENCE = 60.0
"""Seconds that kubectl gets to answer."""


def submit(stage: str, arguments: Sequence[str], job: Job, dry_run: bool) -> int:
    """0 once the job is in the cluster, or its manifests are printed. Raises Refusal when it is not taken."""
    manifests = render(stage, arguments, job)
    if dry_run:
        print(written(manifests), end="")
        return 0
    name, kind = _name(stage, job), job.kubernetes.kind
    *others, work = manifests
    if others:
        _kubectl(["apply"], written(others), f"{kind} {name}")
    _kubectl(["create"], written([work]), f"{kind} {name}")
    where = f" --namespace {job.kubernetes.namespace}" if job.kubernetes.namespace else ""
    pods = f"--selector {INSTANCE}={name}{where}"
    say(
        f"Created the {kind} {name}. `kubectl get pods {pods}` shows where it is, `kubectl logs --follow {pods}` what "
        f"it says, and `kubectl delete {kind} {name}{where}` ends it, with a checkpoint where the stage writes them."
    )
    return 0


def render(stage: str, arguments: Sequence[str], job: Job) -> list[Manifest]:
    """The manifests in the order in which they are created; the job itself is the last.

    Raises Refusal for secrets, for a stage that is one process only, and for one that would start over in every pod.
    """
    chosen = find(stage)
    check_size(stage, job)
    if chosen.stops and _replaces(stage, arguments):
        raise Refusal(
            f"A Kubernetes job must go on in the pods that follow its first, but with --replace '{stage}' would start "
            "over in each of them: leave it out, and delete what is to be replaced, or give another --out."
        )
    check_secrets(arguments, "A Kubernetes manifest", SECRETS)
    name = _name(stage, job)
    spec, is_set = _job(name, chosen, arguments, job), job.kubernetes.kind == "jobset"
    work = _jobset(name, chosen, spec, job) if is_set else _manifest("batch/v1", "Job", name, spec=spec)
    manifests = [_hosts(name, job)] if job.hosts > 1 else []
    manifests += [_service(name)] if job.hosts > 1 and not is_set else []
    return [_labelled(manifest, name, job) for manifest in (*manifests, work)]


def written(manifests: Sequence[Manifest]) -> str:
    """Manifests as a YAML file, in the order of their fields."""
    return yaml.safe_dump_all(manifests, sort_keys=False, explicit_start=True, allow_unicode=True, width=1000)


def _replaces(stage: str, arguments: Sequence[str]) -> bool:
    """Whether the words, or the last settings file that says so, have the stage's result replaced from the start."""
    words, replaces = Words.of([stage, *arguments]), False
    for file in words.files:
        replaces = bool(tomllib.loads(file.read_text()).get("replace", replaces))
    for word, following in pairwise([*words.options, ""]):
        if word.split("=")[0] == "--replace":
            replaces = "False" not in (following, word.partition("=")[2])
    return replaces


def _job(name: str, stage: Stage, arguments: Sequence[str], job: Job) -> Manifest:
    """A Job's spec. A pod that dies is replaced, as long as the stage goes on where it was."""
    return {
        "completionMode": "Indexed",
        "completions": job.hosts,
        "parallelism": job.hosts,
        "backoffLimit": job.max_restarts if stage.resumes else 0,
        "podFailurePolicy": {"rules": _rules(stage)},
        "template": pod(name, stage.name, arguments, job),
    }


def _rules(stage: Stage) -> list[Manifest]:
    """What an end means: a refusal ends the job; a request to stop, and a node that must go, count as no failure."""
    rules: list[Manifest] = [{"action": "FailJob", "onExitCodes": {"operator": "In", "values": [REFUSED]}}]
    if stage.stops:
        rules.append({"action": "Ignore", "onExitCodes": {"operator": "In", "values": [ASKED]}})
    if stage.resumes:
        gone = [{"type": "DisruptionTarget", "status": "True"}]
        rules.append({"action": "Ignore", "onPodConditions": gone})
    return rules


def _jobset(name: str, stage: Stage, spec: Manifest, job: Job) -> Manifest:
    """The same job as the only one of a JobSet, which names the pods itself and starts all again when they fail."""
    refused = {"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}
    restarts = job.max_restarts if stage.resumes else 0
    whole = {
        "network": {"enableDNSHostnames": True, "subdomain": name, "publishNotReadyAddresses": True},
        "failurePolicy": {"maxRestarts": restarts, "rules": [refused]},
        "replicatedJobs": [{"name": RANKS, "replicas": 1, "template": {"spec": spec | {"backoffLimit": 0}}}],
    }
    return _manifest("jobset.x-k8s.io/v1alpha2", "JobSet", name, spec=whole)


def _service(name: str) -> Manifest:
    """The headless service by which pods find one another, also before they are ready."""
    spec = {"clusterIP": "None", "publishNotReadyAddresses": True, "selector": {INSTANCE: name}}
    return _manifest("v1", "Service", name, spec=spec)


def _hosts(name: str, job: Job) -> Manifest:
    """The hostfile: every pod by its name, with the processes that it starts."""
    first = f"{name}-{RANKS}-0" if job.kubernetes.kind == "jobset" else name
    lines = [f"{first}-{number}.{name} slots={job.processes}\n" for number in range(job.hosts)]
    return _manifest("v1", "ConfigMap", hosts_of(name), data={"hosts": "".join(lines)})


def _manifest(version: str, kind: str, name: str, **content: Manifest) -> Manifest:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}, **content}


def _labelled(manifest: Manifest, name: str, job: Job) -> Manifest:
    labels = labels_of(name)
    namespace = {"namespace": job.kubernetes.namespace} if job.kubernetes.namespace else {}
    return {**manifest, "metadata": manifest["metadata"] | namespace | {"labels": labels}}


def _name(stage: str, job: Job) -> str:
    return job.kubernetes.name or f"soundsight-{stage}"


def _kubectl(words: Sequence[str], manifests: str, old: str) -> None:
    try:
        done = subprocess.run(
            ["kubectl", *words, "--filename", "-"],
            input=manifests,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except FileNotFoundError:
        raise Refusal(
            "A Kubernetes job must be submitted by kubectl, but there is none here: install it, or write the manifests "
            "with --dry-run and carry them to where it is."
        ) from None
    except subprocess.TimeoutExpired:
        raise Refusal(
            f"Kubernetes must answer, but `kubectl {' '.join(words)}` gave no answer for {PATIENCE:g} s: ask `kubectl "
            "cluster-info` whether the cluster lives."
        ) from None
    if done.returncode:
        reason = " ".join(done.stderr.split())
        remedy = "change job.kubernetes.…, or what the cluster allows."
        if "AlreadyExists" in reason:
            remedy = f"delete the old one (`kubectl delete {old}`), or give another --job.kubernetes.name."
        raise Refusal(f"Kubernetes must take the job, but `kubectl {' '.join(words)}` says '{reason}': {remedy}")
