"""A run says which code, packages, host and devices it had, and holds no secret of any address."""

import json
import os
import platform
import socket
from importlib.metadata import version
from pathlib import Path

import pytest
from mlflow import MlflowClient

from launch.job import Job
from launch.settings import Settings
from launch.source import commit, source_digest
from launch.tracking import Tracking, facts, machine, run
from launch.tracking.machine import Host

WORD = "hunter2"


class Config(Settings):
    """Settings of a stage that reads from addresses, one of them with a password."""

    place: str = f"https://name:{WORD}@host/x"
    places: tuple[str, ...] = ("https://host/y", f"s3://key:{WORD}@bucket/x?sig={WORD}")


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(root=tmp_path_factory.mktemp("runs"))


def artifact(client: MlflowClient, run_id: str, name: str) -> str:
    return Path(client.download_artifacts(run_id, name)).read_text()


def test_code_packages_host_and_devices_are_in_the_run(tracking: Tracking) -> None:
    with run(tracking, "pack", Config()) as record:
        pass
    client = MlflowClient(tracking.store)
    tags = client.get_run(record.run_id).data.tags
    expected = {"source": source_digest(), "python": platform.python_version(), "torch": version("torch")}
    expected |= {"hosts": socket.gethostname(), "devices": Host.here().devices, "mlflow.source.name": "launch pack"}
    assert {name: tags[name] for name in expected} == expected
    kept = commit()
    told = (tags.get("mlflow.source.git.commit"), tags.get("mlflow.source.git.dirty"))
    assert told == ((kept.id, str(kept.dirty).lower()) if kept else (None, None))
    assert f"torch=={version('torch')}" in artifact(client, record.run_id, "packages.txt").splitlines()


def test_no_password_of_an_address_is_anywhere_in_the_run(tracking: Tracking, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["launch/__main__.py", "pack", f"--place=https://name:{WORD}@host/x"])
    with run(tracking, "pack", Config()) as record:
        record.tags({"note": f"from https://host/x?token={WORD}"})
        record.text("note.txt", f"from https://host/x?token={WORD}")
    client = MlflowClient(tracking.store)
    data = client.get_run(record.run_id).data
    assert data.params["place"] == "https://***@host/x"
    assert data.tags["command"] == "python -m launch pack --place=https://***@host/x"
    assert json.loads(artifact(client, record.run_id, "settings.json"))["place"] == "https://***@host/x"
    assert artifact(client, record.run_id, "note.txt") == "from https://host/x?***"
    written = [path.read_bytes() for path in tracking.root.rglob("*") if path.is_file()]
    assert written
    assert not any(WORD.encode() in content for content in written), "nor in the journal, nor in the database"


class Submitted(Settings):
    """Settings of a stage that can be submitted to a scheduler."""

    seed: int = 0
    job: Job = Job()
    tracking: Tracking = Tracking()


def test_settings_that_no_run_is_compared_by_are_no_parameters_but_in_its_settings(tracking: Tracking) -> None:
    with run(tracking, "pretrain", Submitted()) as record:
        pass
    client = MlflowClient(tracking.store)
    names = client.get_run(record.run_id).data.params
    assert {"seed", "job.processes"} < set(names)
    assert not [name for name in names if name.startswith(("tracking", "job.slurm", "job.kubernetes"))]
    assert {"slurm", "kubernetes"} < set(json.loads(artifact(client, record.run_id, "settings.json"))["job"])


def test_what_cannot_be_known_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(facts, "TOLD", ("torch", "a-package-that-is-not-here"))
    monkeypatch.setattr(facts, "commit", lambda: None)
    assert set(facts.versions()) == {"python", "torch"}
    assert set(facts.code()) == {"source"}


def test_a_host_without_gpus_tells_its_processor() -> None:
    if machine.torch.cuda.device_count():
        pytest.skip("this host has GPUs")
    assert Host.here().devices.endswith(f", {len(os.sched_getaffinity(0))} cores")
