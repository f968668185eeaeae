"""Slurm itself runs the jobs that are submitted to it: over two nodes, through preemption, deaths and requests."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from mlflow import MlflowClient

from launch.tracking import Tracking
from tests.cluster.hosts import ROOT, Cluster
from tests.cluster.runs import PYTHON, STEPS, Bench
from tests.cluster.slurm import Slurm, slurm, why_not

pytestmark = pytest.mark.timeout(1800)
TWO_NODES = ["--job.hosts", "2", "--job.slurm.gpus", "0", "--job.slurm.partition", "common"]


@pytest.fixture(scope="module")
def running(cluster: Cluster) -> Iterator[Slurm]:
    """A Slurm whose jobs share two nodes."""
    if reason := why_not():
        pytest.skip(reason)
    with slurm(cluster) as started:
        yield started


def test_a_preempted_job_writes_a_checkpoint_and_goes_on_once_the_nodes_are_free(
    running: Slurm, finished: Bench
) -> None:
    job, log = _submit(running, [*finished.pretrain("preempted", None), *TWO_NODES])
    running.wait("the ranks begin", lambda: log.exists() and "Read 61 videos" in log.read_text(), log)
    running.ask("sbatch", "--partition", "urgent", "--nodes", "2", "--output", "/dev/null", "--wrap", "true")
    running.wait("the job is queued again", lambda: _state(running, job) == ("PENDING", "1"), log)
    (stopped,) = set(re.findall(r"Stopped: after step (\d+)", log.read_text()))
    assert 0 < int(stopped) == _step(finished, "preempted") < STEPS
    _start_now(running, job)
    running.wait("the job ends", lambda: _state(running, job) == ("COMPLETED", "1"), log)
    assert "2 nodes with 1 process each" in running.ask("scontrol", "write", "batch_script", job, "-")
    _assert_as_undisturbed(finished, "preempted", log)


def test_a_rank_that_is_killed_starts_all_again_in_the_same_job_and_a_request_queues_it_again(
    running: Slurm, finished: Bench
) -> None:
    job, log = _submit(running, [*finished.pretrain("killed", None), *TWO_NODES])
    running.wait("a checkpoint", lambda: _step(finished, "killed") > 0, log)
    finished.cluster.hosts[1].run(["pkill", "-9", "-o", "-f", "launch pretrain"])
    running.wait("the ranks are started again", lambda: "Ranks died" in log.read_text(), log)
    assert "restart 1 of at most 3" in log.read_text()
    assert re.search(r"Failed: Rank 1 \(pid \d+ on host2\)", log.read_text())
    begun = _step(finished, "killed")
    running.wait("a checkpoint more", lambda: _step(finished, "killed") > begun, log)
    running.ask("scancel", "--signal", "TERM", job)
    running.wait("the job is queued again", lambda: _state(running, job) == ("PENDING", "1"), log)
    assert "the job is queued again, for the 1. of at most 100 times" in log.read_text()
    assert _step(finished, "killed") < STEPS
    _start_now(running, job)
    running.wait("the job ends", lambda: _state(running, job) == ("COMPLETED", "1"), log)
    _assert_as_undisturbed(finished, "killed", log)


TORCHRUN = "-m torch.distributed.run --nnodes 2 --nproc_per_node 1 --rdzv_backend c10d --rdzv_endpoint host1:29611"


@pytest.mark.parametrize("launcher", [[], TORCHRUN.split()], ids=["srun", "torchrun on each node"])
def test_the_same_module_runs_as_tasks_of_srun_and_under_a_launcher_that_srun_starts(
    running: Slurm, launcher: list[str]
) -> None:
    """Tasks that nobody has told where to meet find the first node themselves."""
    (running.folder / "meet.py").write_text(
        "import os, socket, torch, torch.distributed as dist\n"
        "from launch.world import World\n"
        "world = World.from_environment(5)\n"
        "total = torch.tensor([world.rank + 1.0])\n"
        "dist.all_reduce(total)\n"
        "print(f'{socket.gethostname()} adds to {total.item()} of {world.size}', flush=True)\n"
        "world.close()\n"
    )
    words = ["srun", "--nodes", "2", "--ntasks-per-node", "1", sys.executable, *launcher, "-m", "meet"]
    paths = f"{running.folder}:{ROOT}"
    variables = {"SLURM_CONF": str(running.folder / "slurm.conf"), "PYTHONPATH": paths}
    done = running.node.run(words, running.folder, **variables)
    assert done.returncode == 0, done.stdout
    said = [line for line in done.stdout.splitlines() if "adds to" in line]
    assert sorted(said) == ["host1 adds to 3.0 of 2", "host2 adds to 3.0 of 2"]


def test_a_job_that_refuses_its_inputs_is_not_started_again(running: Slurm) -> None:
    words = ["--shards", str(running.folder / "nowhere"), "--job.max_restarts", "3", "--job.slurm.gpus", "0"]
    job, log = _submit(running, [*PYTHON, "verify", *words])
    running.wait("the job fails", lambda: _state(running, job)[0] == "FAILED", log)
    assert running.facts(job)["ExitCode"] == "2:0"
    assert log.read_text().count("Refused: ") == 1


def test_a_job_that_is_cancelled_stays_so(running: Slurm, bench: Bench) -> None:
    job, log = _submit(running, [*bench.pretrain("cancelled", None), *TWO_NODES])
    running.wait("it runs", lambda: _state(running, job)[0] == "RUNNING", log)
    running.ask("scancel", job)
    running.wait("the job ends", lambda: not running.ask("squeue", "--noheader"), log)
    assert _state(running, job) == ("CANCELLED", "0")


def test_a_job_that_slurm_does_not_take_is_refused_with_its_reason(running: Slurm) -> None:
    words = [*PYTHON, "verify", "--shards", "x", "--on", "slurm", "--job.slurm.gpus", "0"]
    words += ["--job.slurm.partition", "nowhere"]
    done = running.node.run(words, running.folder, SLURM_CONF=str(running.folder / "slurm.conf"), PYTHONPATH=str(ROOT))
    assert done.returncode == 2
    assert "Refused: Slurm must take the job, but `sbatch` says 'invalid partition specified: nowhere " in done.stdout


def _submit(running: Slurm, command: list[str]) -> tuple[str, Path]:
    """The number of a job that is in the queue, and the file of what it says."""
    variables = {"SLURM_CONF": str(running.folder / "slurm.conf"), "PYTHONPATH": str(ROOT)}
    done = running.node.run([*command, "--on", "slurm"], running.folder, **variables)
    found = re.search(r"Submitted as Slurm job (\d+); what it says goes to '(.*)'\.", done.stdout)
    assert found, done.stdout
    return found[1], Path(found[2])


def _state(running: Slurm, job: str) -> tuple[str, str]:
    """The job's state, and how often it was queued again."""
    facts = running.facts(job)
    return facts["JobState"], facts["Restarts"]


def _step(bench: Bench, name: str) -> int:
    """The newest checkpoint of a run."""
    found = (bench.cluster.shared / name / "checkpoints").glob("step-*")
    return max((int(path.name.rpartition("-")[2]) for path in found), default=0)


def _start_now(running: Slurm, job: str) -> None:
    """Slurm lets a job that was queued again wait for two minutes, which tests need not."""
    running.ask("scontrol", "update", f"JobId={job}", "StartTime=now")


def _assert_as_undisturbed(bench: Bench, name: str, log: Path) -> None:
    """The encoder is that of two hosts that nothing disturbed, and all starts of the job are one run."""
    expected, found = bench.weights("two"), bench.weights(name)
    assert all(torch.equal(found[key], value) for key, value in expected.items()), log.read_text()
    client = MlflowClient(Tracking(root=bench.runs(name)).store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment is not None
    assert [run.info.status for run in client.search_runs([experiment.experiment_id])] == ["FINISHED"]
