"""Which process this is, by the variables of each launcher; contradictions are refused with all of them."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from launch.place import DIRECT, GROUPS, MPI, SLURM, launched, port_of, read_place, take_place
from launch.refusal import Refusal

ROOT = Path(__file__).parents[2]
MEETING = {"MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
SHELL = {"SLURM_JOB_ID": "12007", "SLURM_NTASKS": "8", "SLURM_JOB_NODELIST": "node1", "SLURM_PROCID": "0"}
"""What a batch script, or a shell of salloc, holds."""


def step(task: int, tasks: int) -> dict[str, str]:
    """What srun gives to one of its tasks."""
    numbers = {"SLURM_STEP_ID": "2", "SLURM_PROCID": str(task), "SLURM_STEP_NUM_TASKS": str(tasks)}
    return SHELL | numbers | {"SLURM_LOCALID": "1", "SLURM_STEP_NODELIST": "node2"}


def direct(rank: int, size: int, local_rank: int = 0) -> dict[str, str]:
    return {"RANK": str(rank), "WORLD_SIZE": str(size), "LOCAL_RANK": str(local_rank)}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment without any launcher; what is written into it is undone."""
    names = {name for source in (DIRECT, MPI, SLURM) for name in (source.rank, source.size, source.local_rank)}
    for name in [*names, *MEETING, *GROUPS, *(each for each in os.environ if each.startswith("SLURM_"))]:
        monkeypatch.setenv(name, "")  # noted, so that it is put back even where the code sets it
        monkeypatch.delenv(name)
    return monkeypatch


def put(environment: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)


def test_without_a_launcher_the_world_is_one_process(given: pytest.MonkeyPatch) -> None:
    assert (launched(), take_place()) == (False, (0, 1, 0))
    assert "RANK" not in os.environ


@pytest.mark.parametrize(
    "variables",
    [
        direct(3, 8, 1),
        {"OMPI_COMM_WORLD_RANK": "3", "OMPI_COMM_WORLD_SIZE": "8", "OMPI_COMM_WORLD_LOCAL_RANK": "1"},
        step(3, 8),
        step(3, 8) | direct(3, 8, 1),
        step(0, 2) | direct(3, 8, 1),
        step(0, 2) | direct(3, 8, 1) | {"CROSS_SIZE": "2"},
        step(1, 2) | direct(3, 8, 1) | {"GROUP_WORLD_SIZE": "2"},
        SHELL | direct(3, 8, 1),
    ],
    ids=["direct", "mpirun", "srun", "srun and the same", "a launcher a node", "deepspeed a node", "torchrun counts "
         "nodes in its own order", "torchrun in a batch script"],
)  # fmt: skip
def test_every_launcher_gives_rank_size_and_local_rank_which_all_can_read_afterwards(
    given: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    put(given, variables | MEETING)
    assert launched()
    assert take_place() == (3, 8, 1)
    assert {name: os.environ[name] for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")} == direct(3, 8, 1)
    assert read_place() == (3, 8, 1), "what was written down contradicts nothing"


@pytest.mark.parametrize(
    "variables",
    [
        SHELL,
        SHELL | {"SLURM_STEP_ID": str(0xFFFFFFFB), "SLURM_STEP_NUM_TASKS": "8"},
        SHELL | {"SLURM_STEP_ID": str(0xFFFFFFFA), "SLURM_STEP_NUM_TASKS": "8"},
        step(0, 1),
    ],
    ids=["batch script", "batch step", "shell of salloc", "step of one task"],
)
def test_a_shell_inside_a_slurm_job_and_a_step_of_one_task_are_one_process(
    given: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    put(given, variables)
    assert (launched(), take_place()) == (False, (0, 1, 0))


def test_ranks_of_srun_meet_on_the_first_node_of_their_step_at_a_port_of_their_job(given: pytest.MonkeyPatch) -> None:
    put(given, step(3, 8))
    take_place()
    assert (os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]) == ("node2", str(port_of(12_007 + 2)))


def test_where_the_ranks_meet_is_not_changed_once_it_is_given(given: pytest.MonkeyPatch) -> None:
    put(given, step(3, 8) | MEETING)
    take_place()
    assert {name: os.environ[name] for name in MEETING} == MEETING


@pytest.mark.parametrize(
    ("variables", "numbers"),
    [
        (direct(2, 2), "'RANK': '2', 'WORLD_SIZE': '2'"),
        (direct(0, 2, 2), "'LOCAL_RANK': '2'"),
        ({"RANK": "0"}, "'RANK': '0', 'WORLD_SIZE': None"),
        ({"OMPI_COMM_WORLD_RANK": "1"}, "'OMPI_COMM_WORLD_SIZE': None"),
        (step(8, 8), "'SLURM_PROCID': '8', 'SLURM_STEP_NUM_TASKS': '8'"),
    ],
)
def test_numbers_that_are_no_place_are_refused_with_the_variables(
    given: pytest.MonkeyPatch, variables: dict[str, str], numbers: str
) -> None:
    put(given, variables | MEETING)
    with pytest.raises(Refusal, match=numbers):
        read_place()


@pytest.mark.parametrize(
    "variables",
    [
        step(1, 2) | direct(0, 2),
        step(1, 2) | direct(1, 4),
        step(1, 2) | direct(2, 3),
        step(1, 4) | direct(1, 2) | {"GROUP_WORLD_SIZE": "1"},
    ],
    ids=["swapped", "of the other node", "not shared out", "a world in each task"],
)
def test_ranks_that_contradict_their_slurm_step_are_refused_with_all_values(
    given: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    put(given, variables | MEETING)
    with pytest.raises(Refusal, match="The ranks of a Slurm step must be srun's tasks") as refused:
        read_place()
    named = [name for name in variables if not name.startswith("SLURM_")]
    assert all(f"'{name}': '{variables[name]}'" in str(refused.value) for name in [*named, "SLURM_PROCID"])


def test_ranks_without_a_place_to_meet_are_refused(given: pytest.MonkeyPatch) -> None:
    put(given, direct(0, 2) | {"MASTER_ADDR": "10.0.0.1"})
    with pytest.raises(Refusal, match=r"told where to meet, but the environment holds {'MASTER_ADDR': '10\.0\.0\.1'}"):
        take_place()


def test_a_list_of_nodes_that_scontrol_cannot_read_is_refused(given: pytest.MonkeyPatch, tmp_path: Path) -> None:
    put(given, step(0, 8) | {"SLURM_STEP_NODELIST": "node[1-2]", "PATH": str(tmp_path)})
    with pytest.raises(Refusal, match=r"`scontrol show hostnames node\[1-2\]` does not say"):
        take_place()


def test_the_same_module_runs_as_ranks_of_torchrun_inside_a_step_of_srun(
    given: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Two ranks of a launcher which is one of a step's tasks add up their numbers."""
    (tmp_path / "meet.py").write_text(
        "import sys, pathlib, torch, torch.distributed as dist\n"
        "from launch.world import World\n"
        "world = World.from_environment(5)\n"
        "total = torch.tensor([world.rank + 1.0])\n"
        "dist.all_reduce(total)\n"
        "pathlib.Path(sys.argv[1], str(world.rank)).write_text(f'{world.size} {total.item()}')\n"
        "world.close()\n"
    )
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "meet"]
    subprocess.run([*command, str(tmp_path)], env=os.environ | step(0, 1) | paths, check=True, timeout=120)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["2 3.0", "2 3.0"]
