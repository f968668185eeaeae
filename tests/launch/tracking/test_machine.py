"""The load of every host is in the run, also of those that rank 0 is not on; nothing waits for a sample."""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from launch.settings import Settings
from launch.tracking import Record, Tracking, machine, run
from launch.tracking.machine import Host, sampled

WORKER = Path(__file__).parent / "machine_worker.py"


def the_run(tracking: Tracking) -> Run:
    client = MlflowClient(tracking.store)
    return client.search_runs([each.experiment_id for each in client.search_experiments()])[0]


def test_one_process_logs_its_host_under_the_names_that_mlflow_shows(tmp_path: Path) -> None:
    tracking = Tracking(root=tmp_path, system_interval=0.05)
    with run(tracking, "pack", Settings()) as record:
        client, end = MlflowClient(tracking.store), time.monotonic() + 60
        while not client.get_metric_history(record.run_id, "system/cpu_utilization_percentage"):
            assert time.monotonic() < end
            time.sleep(0.05)
    found = the_run(tracking).data.metrics
    assert {"system/system_memory_usage_percentage", "system/disk_usage_percentage"} < set(found)
    assert {name.partition("/")[0] for name in found} == {"system"}
    assert all(value >= 0 for value in found.values())


def test_without_an_interval_nothing_is_sampled(tmp_path: Path) -> None:
    tracking = Tracking(root=tmp_path, system_interval=0)
    with run(tracking, "pack", Settings()):
        time.sleep(0.2)
    assert not the_run(tracking).data.metrics


@pytest.mark.skipif(os.geteuid() != 0 or sys.platform != "linux", reason="a host name of its own takes root on Linux")
def test_every_host_of_a_run_is_in_it_though_rank_0_alone_writes(tmp_path: Path) -> None:
    hosts = ("harbour", "lighthouse")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    command = (sys.executable, str(WORKER), str(tmp_path), ",".join(hosts))
    ranks = [
        subprocess.Popen(
            [*("unshare", "--uts", "sh", "-c", f'hostname {host} && exec "$@"', "-"), *command],
            env=os.environ | place | {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for host, place in zip(hosts, ({"RANK": str(rank), "LOCAL_RANK": "0"} for rank in range(2)), strict=True)
    ]
    try:
        said = [rank.communicate(timeout=120)[0] for rank in ranks]
    finally:
        for rank in ranks:
            rank.kill()
    assert [rank.returncode for rank in ranks] == [0, 0], "\n".join(said)
    found = the_run(Tracking(root=tmp_path))
    assert sorted(found.data.tags["hosts"].split(", ")) == sorted(hosts)
    assert found.data.tags["devices"] == Host.here().devices, "the same on both: told once"
    assert {name.split("/")[1] for name in found.data.metrics} == set(hosts)


@pytest.mark.parametrize(("count", "told"), [(0, ""), (8, "8 × GPU")])
def test_gpus_are_told_by_their_number_where_no_driver_tells_their_kind(
    monkeypatch: pytest.MonkeyPatch, count: int, told: str
) -> None:
    monkeypatch.setattr(machine.torch.cuda, "device_count", lambda: count)
    monkeypatch.setitem(sys.modules, "pynvml", None)
    assert Host.here().devices == (told or machine._processor())


def test_a_rank_that_cannot_reach_rank_0_works_on_without_samples(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("launch.tracking.machine.PATIENCE", 0.2)
    place = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9"}
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    with sampled(Record(None), 0.05):
        pass
    assert f"The load of {socket.gethostname()} is not logged, since it cannot reach rank 0" in capsys.readouterr().out
