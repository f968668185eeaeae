"""Kubernetes manifests: valid by its own schema, as they were approved, and harmless by what they may and may not."""

import os
import shlex
import shutil
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from kubernetes_validate.utils import validate

from launch.job import Job
from launch.launchers.hostfile import read_hostfile
from launch.launchers.kubernetes import render, submit, written
from launch.refusal import Refusal
from launch.words import Words
from tests.launch.launchers.golden import approved

WORDS = ["pretrain/configs/base.toml", "--shards", "data/shards", "--components", "runs/graph", "--out", "runs/encoder"]
LARGE: dict[str, Any] = {
    "namespace": "music",
    "cpus": 96,
    "memory": "800Gi",
    "shared_memory": "64Gi",
    "secret": "mlflow",
    "selector": ("gpu.product=H200", "zone=a"),
    "image": "registry.example/soundsight:0.1.0",
}
VERSIONS = ("1.30", "1.34", "1.37")


def rendered(stage: str = "pretrain", words: list[str] = WORDS, **settings: Any) -> list[dict[str, Any]]:
    """The manifests as a cluster reads them."""
    return list(yaml.safe_load_all(written(render(stage, words, Job.model_validate(settings)))))


def pod_of(work: dict[str, Any]) -> dict[str, Any]:
    """The spec of a job's pods."""
    spec = work["spec"]
    if work["kind"] == "JobSet":
        spec = spec["replicatedJobs"][0]["template"]["spec"]
    return spec["template"]["spec"]


SHAPES: dict[str, dict[str, Any]] = {
    "one": {"kubernetes": {"gpus": 0, "data": ""}},
    "several": {"hosts": 4, "processes": 8, "port": 29_400, "kubernetes": LARGE},
    "jobset": {"hosts": 2, "processes": 8, "kubernetes": {"kind": "jobset"}},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_manifests_are_those_that_were_approved(shape: str) -> None:
    text = written(render("pretrain", WORDS, Job.model_validate(SHAPES[shape])))
    assert text == approved(f"pretrain-{shape}.yaml", text)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_manifests_are_valid_by_kubernetes_own_schema(shape: str, version: str) -> None:
    """A JobSet's own fields are in no schema of Kubernetes, the Job that it repeats is."""
    for manifest in rendered(**SHAPES[shape]):
        if manifest["kind"] == "JobSet":
            template = manifest["spec"]["replicatedJobs"][0]["template"]
            manifest = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, **template}  # noqa: PLW2901
        validate(manifest, version, strict=True)


def test_the_schema_finds_a_field_that_does_not_exist() -> None:
    (work,) = rendered()
    pod_of(work)["containers"][0]["securitycontext"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        validate(work, VERSIONS[-1], strict=True)


@pytest.mark.parametrize("shape", SHAPES)
def test_no_pod_runs_as_root_has_a_privilege_or_writes_outside_its_volumes(shape: str) -> None:
    pod = pod_of(rendered(**SHAPES[shape])[-1])
    (container,) = pod["containers"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] > 0
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
    assert not [volume for volume in pod["volumes"] if "hostPath" in volume]
    writable = [mount["mountPath"] for mount in container["volumeMounts"] if not mount.get("readOnly")]
    assert writable == ["/dev/shm", "/tmp", "/app/runs"]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_pod_is_limited_and_has_the_shared_memory_that_was_asked_for(shape: str) -> None:
    job = Job.model_validate(SHAPES[shape])
    pod = pod_of(rendered(**SHAPES[shape])[-1])
    resources = pod["containers"][0]["resources"]
    assert resources["limits"] == resources["requests"]
    assert {"cpu", "memory"} <= set(resources["limits"])
    assert resources["limits"].get("nvidia.com/gpu") == (str(job.processes) if job.kubernetes.gpus else None)
    shm = next(volume for volume in pod["volumes"] if volume["name"] == "shm")
    assert shm["emptyDir"] == {"medium": "Memory", "sizeLimit": job.kubernetes.shared_memory}


@pytest.mark.parametrize("kind", ["job", "jobset"])
def test_pods_find_the_first_of_them_by_the_name_that_the_cluster_gives_it(kind: str, tmp_path: Path) -> None:
    config, *rest, work = rendered(hosts=3, processes=8, kubernetes={"kind": kind, "name": "try"})
    (tmp_path / "hosts").write_text(config["data"]["hosts"])
    hosts = read_hostfile(tmp_path / "hosts")
    first = {"job": "try-{}.try", "jobset": "try-ranks-0-{}.try"}[kind]
    assert [(host.name, host.slots) for host in hosts] == [(first.format(number), 8) for number in range(3)]
    pod = pod_of(work)
    assert pod["subdomain"] == "try"
    if kind == "job":
        (service,) = rest
        assert (service["metadata"]["name"], service["spec"]["clusterIP"]) == ("try", "None")
        labels = work["spec"]["template"]["metadata"]["labels"]
        assert service["spec"]["selector"].items() <= labels.items()
        assert service["spec"]["publishNotReadyAddresses"] is True
    else:
        assert work["spec"]["network"] == {
            "enableDNSHostnames": True,
            "subdomain": "try",
            "publishNotReadyAddresses": True,
        }
    mounted = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    words = Words.of(pod["containers"][0]["args"])
    assert words.on == "hostfile"
    assert words.options[words.options.index("--job.hostfile") + 1] == f"{mounted['hosts']}/hosts"
    assert words.options[-2:] == ("--job.node_rank", "$(NODE_RANK)")


def test_words_come_through_even_where_kubernetes_would_replace_them(tmp_path: Path) -> None:
    words = [str(tmp_path / "größe.toml"), "--name", "two $(HOME) words", "--a", "-1", "--b", "it's $HOME `date`\n"]
    (tmp_path / "größe.toml").touch()
    (work,) = rendered(words=words)
    given = pod_of(work)["containers"][0]["args"]
    assert [word.replace("$$(", "$(") for word in given] == ["pretrain", *words]
    assert "two $$(HOME) words" in given


@pytest.mark.parametrize(
    ("stage", "restarts", "actions"),
    [
        ("pretrain", 3, ["FailJob", "Ignore", "Ignore"]),
        ("graph", 3, ["FailJob", "Ignore"]),
        ("pack", 0, ["FailJob"]),
    ],
)
def test_a_pod_is_replaced_only_where_its_stage_goes_on_by_itself(
    stage: str, restarts: int, actions: list[str]
) -> None:
    spec = rendered(stage, [])[-1]["spec"]
    assert spec["backoffLimit"] == restarts
    assert [rule["action"] for rule in spec["podFailurePolicy"]["rules"]] == actions
    assert spec["podFailurePolicy"]["rules"][0]["onExitCodes"] == {"operator": "In", "values": [2]}
    assert pod_of(rendered(stage, [])[-1])["restartPolicy"] == "Never", "which the policy needs"


def test_a_jobset_starts_all_again_but_not_after_a_refusal() -> None:
    policy = rendered(hosts=2, max_restarts=5, kubernetes={"kind": "jobset"})[-1]["spec"]["failurePolicy"]
    assert policy["maxRestarts"] == 5
    assert policy["rules"] == [{"action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"]}]


def test_a_secret_comes_from_the_cluster_and_is_refused_in_a_manifest() -> None:
    container = pod_of(rendered(kubernetes={"secret": "mlflow"})[-1])["containers"][0]
    assert container["envFrom"] == [{"secretRef": {"name": "mlflow"}}]
    with pytest.raises(Refusal, match=r"'https://\*\*\*@host' does: put it into a Secret"):
        rendered(words=["--tracking.uri", "https://me:word@host"])


def test_a_stage_that_is_one_process_is_refused_as_several() -> None:
    with pytest.raises(Refusal, match=r"'export' must be one process, but job\.hosts 2"):
        rendered("export", hosts=2)


@pytest.mark.parametrize("words", [["--replace"], ["--replace", "True"], ["--replace=True"], ["FILE"]])
def test_a_run_that_would_start_over_in_every_pod_is_refused(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("replace = true\n")
    words = [word.replace("FILE", str(tmp_path / "settings.toml")) for word in words]
    with pytest.raises(Refusal, match="with --replace 'pretrain' would start over in each of them: leave it out"):
        rendered(words=words)
    assert rendered("export", words), "one that has no second pod may replace"
    assert rendered(words=[*words, "--replace", "False"])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"image": "soundsight"}, "must name an image with its tag or digest"),
        ({"image": "registry:5000/soundsight"}, "must name an image with its tag or digest"),
        ({"image": "soundsight:latest"}, "'latest' changes"),
        ({"name": "My Run"}, "must be a name of at most 40 of a-z, 0-9 and -"),
        ({"user": 0}, "'user' of KubernetesSettings: Input should be greater than or equal to 1"),
        ({"memory": "64 GB"}, "must be bytes as Kubernetes writes them"),
        ({"memory": "8Gi", "shared_memory": "8Gi"}, "memory must be more than shared_memory"),
        ({"selector": ("gpu",)}, "must be labels such as gpu.product=H200"),
        ({"kind": "pod"}, "'kind' of KubernetesSettings: Input should be 'job' or 'jobset'"),
    ],
)
def test_settings_that_no_cluster_would_take_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        Job.model_validate({"kubernetes": settings})


def test_a_dry_run_prints_the_manifests(capsys: pytest.CaptureFixture[str]) -> None:
    job = Job.model_validate(SHAPES["several"])
    assert submit("pretrain", WORDS, job, dry_run=True) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == render("pretrain", WORDS, job)


def test_without_kubectl_a_job_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="there is none here: install it, or write the manifests with --dry-run"):
        submit("pretrain", WORDS, Job(), dry_run=False)


@pytest.mark.skipif(not shutil.which("kubectl"), reason="kubectl is not installed")
def test_a_cluster_that_is_not_there_is_refused_with_what_kubectl_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(Refusal, match=r"Kubernetes must take the job, but `kubectl create` says '.*refused"):
        submit("pretrain", WORDS, Job(), dry_run=False)


def test_what_kubectl_is_given_is_the_job_after_all_that_it_needs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """There is no cluster in the tests: a program in kubectl's place keeps what it is given."""
    kept = shlex.quote(str(tmp_path))
    (tmp_path / "kubectl").write_text(f'#!/bin/sh\necho "$@" >> {kept}/words\ncat >> {kept}/manifests\n')
    (tmp_path / "kubectl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    job = Job.model_validate(SHAPES["several"])
    assert submit("pretrain", WORDS, job, dry_run=False) == 0
    assert (tmp_path / "words").read_text() == "apply --filename -\ncreate --filename -\n"
    assert list(yaml.safe_load_all((tmp_path / "manifests").read_text())) == render("pretrain", WORDS, job)
    assert "kubectl delete job soundsight-pretrain --namespace music" in capsys.readouterr().out
    (tmp_path / "kubectl").write_text("#!/bin/sh\necho 'Error (AlreadyExists): jobs exists' >&2\nexit 1\n")
    with pytest.raises(Refusal, match="`kubectl delete job soundsight-pretrain`"):
        submit("pretrain", WORDS, Job(), dry_run=False)
