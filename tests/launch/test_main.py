"""`python -m launch`: stages by name, refusals in one sentence, ranks under the real deepspeed launcher."""

import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import stage
from launch.__main__ import main
from launch.job import Job
from launch.launchers.local import Local
from launch.ranks.board import Folder
from launch.ranks.roster import Roster
from launch.refusal import Refusal
from launch.settings import Settings
from launch.start import start
from launch.words import Words
from launch.world import World

ROOT = Path(__file__).parents[2]
MEET = """
import sys, pathlib, torch, torch.distributed as dist
from launch.words import Words
from launch.world import World
world = World.from_environment(5)
total = torch.tensor([world.rank + 1.0])
dist.all_reduce(total)
pathlib.Path(sys.argv[2], str(world.rank)).write_text(f'{world.size} {total.item()}')
world.close()
"""
"""A stage of the tests' own: ranks that add up their numbers and write down the sum."""
ROSTER = Roster(Folder(Path("nowhere")))


def test_without_a_stage_the_stages_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in stage.STAGES)


@pytest.mark.parametrize("name", list(stage.STAGES))
def test_every_stage_has_settings_with_a_description_each(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([name, "--help"])
    assert leaving.value.code == 0
    assert f"python -m launch {name} [FILE.toml …]" in capsys.readouterr().out
    config_class, _ = stage.find(name).load()
    assert undescribed(config_class) == []


@pytest.mark.parametrize(
    ("ending", "code", "said"),
    [
        (Refusal("It must not."), 2, "Refused: It must not."),
        (ChildProcessError("A process died."), 1, "Failed: A process died."),
        (KeyboardInterrupt(), 130, "Interrupted."),
    ],
)
def test_an_end_that_is_no_fault_of_the_program_is_one_sentence(
    ending: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(words: Words) -> int:
        raise ending

    monkeypatch.setattr("launch.__main__._run", end)
    assert main(["pack"]) == code
    assert capsys.readouterr().err.strip() == said


@pytest.mark.parametrize("unbuffered", ["1", ""])
@pytest.mark.parametrize("arguments", [["lineage", "--help"], []])
def test_a_reader_who_leaves_is_no_fault(unbuffered: str, arguments: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "launch", *arguments]
    environment = {**os.environ, "PYTHONUNBUFFERED": unbuffered}
    ended = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=ROOT, env=environment, check=False)
    os.close(writer)
    assert ended.returncode in (0, 141)
    assert ended.stderr == b""


def test_a_pipe_that_breaks_elsewhere_is_a_fault(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def end(words: Words) -> int:
        raise BrokenPipeError("a worker's")

    monkeypatch.setattr("launch.__main__._run", end)
    assert main(["pack"]) == 1
    assert "a worker's" in capsys.readouterr().err


def undescribed(model: type[Settings]) -> list[str]:
    """The settings of a class, and of those it holds, that say nothing of what they mean."""
    inner = [
        field.annotation
        for field in model.model_fields.values()
        if isinstance(field.annotation, type) and issubclass(field.annotation, Settings)
    ]
    own = [
        f"{model.__name__}.{key}"
        for key, field in model.model_fields.items()
        if not field.description and field.annotation not in inner
    ]
    silent = [] if model.__doc__ else [model.__name__]
    return [*silent, *own, *(each for one in inner for each in undescribed(one))]


def test_a_misspelt_stage_is_refused_with_the_nearest_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrian"]) == 2
    assert capsys.readouterr().err == (
        "Refused: A stage must be one of this house's, but 'pretrian' is not: did you mean 'pretrain'?\n"
    )


def test_a_misspelt_setting_is_refused_before_anything_starts(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pack", "--out", str(tmp_path / "out"), "--featuers", "x"]) == 2
    assert "did you mean 'features'?" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_refused_before_any_rank_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("launch.start.start", lambda *_: pytest.fail("ranks were started"))
    places = ["--shards", str(tmp_path), "--components", str(tmp_path), "--out", str(tmp_path / "out")]
    assert main(["pretrain", *places, "--job.processes", "2"]) == 2
    assert capsys.readouterr().err.startswith("Refused: A shard set must hold manifest.json")


@pytest.mark.parametrize(
    "variables",
    [{"RANK": "2", "WORLD_SIZE": "2"}, {"RANK": "0"}, {"WORLD_SIZE": "2"}, {"RANK": "one", "WORLD_SIZE": "2"}],
)
def test_a_world_that_contradicts_itself_is_refused(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(Refusal, match="0 ≤ RANK < WORLD_SIZE"):
        World.from_environment(0)


def test_threads_are_shared_among_the_processes() -> None:
    cores = os.cpu_count() or 1
    assert Local(Job(processes=cores)).environment(ROSTER, 0)["OMP_NUM_THREADS"] == "1"
    assert Local(Job(processes=1, threads=3)).environment(ROSTER, 0)["OMP_NUM_THREADS"] == "3"


def test_ranks_start_under_the_deepspeed_launcher_and_their_exit_code_comes_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage named in a module of the test's own is started as two ranks that meet, write, and leave with 3."""
    (tmp_path / "meet.py").write_text(MEET + "sys.exit(3)\n")
    monkeypatch.setattr("launch.start.MODULE", "meet")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}{os.pathsep}{ROOT}")
    assert start("pretrain", [str(tmp_path)], Job(processes=2, max_restarts=0)) == 3
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["2 3.0", "2 3.0"]


def test_the_same_module_runs_as_ranks_of_torchrun(tmp_path: Path) -> None:
    (tmp_path / "meet.py").write_text(MEET)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "meet"]
    paths = {"PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    subprocess.run([*command, "pretrain", str(tmp_path)], env=os.environ | paths, check=True, timeout=120)
    assert [(tmp_path / str(rank)).read_text() for rank in range(2)] == ["2 3.0", "2 3.0"]


def test_deepspeeds_own_argument_is_not_taken_for_a_stage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--local_rank=0", "pretrian"]) == 2
    assert "did you mean 'pretrain'?" in capsys.readouterr().err


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    with pytest.raises(Refusal, match=r"2 are asked for on a machine with 1: lower job\.processes"):
        start("pretrain", [], Job(processes=2))


def test_a_dry_run_prints_what_would_be_started_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert start("pretrain", ["two words.toml"], Job(processes=2, port=4711), dry_run=True) == 0
    words = shlex.split(capsys.readouterr().out)
    assert words[:3] == [sys.executable, "-m", "deepspeed.launcher.runner"]
    assert words[words.index("--master_port") + 1] == "4711"
    assert words[-4:] == ["--module", "launch", "pretrain", "two words.toml"]


@pytest.mark.parametrize(
    ("words", "checked"),
    [(["pack", "--out", "two words", "--features", "x"], False), (["graph", "--shards", "x", "--out", "y"], True)],
)
def test_a_dry_run_of_what_runs_in_this_process_is_the_plain_command(
    words: list[str], checked: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = list[Settings]()
    monkeypatch.setattr("launch.stage.Stage.check", lambda _, config: seen.append(config))
    assert main([*words, "--dry-run"]) == 0
    assert shlex.split(capsys.readouterr().out) == [sys.executable, "-m", "launch", *words]
    assert bool(seen) is checked


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--job.hostfile", "hosts"], "--on local does not read job.hostfile (hosts): add --on hostfile, or leave"),
        (["--job.no_ssh"], "--on local does not read job.no_ssh (True): add --on hostfile, or leave it out."),
        (["--job.node_rank", "0"], "--on local does not read job.node_rank (0): add --on hostfile, or leave it out."),
        (["--job.hosts", "2"], "job.hosts (2): add --on slurm or kubernetes or hostfile, or leave it out."),
        (["--on", "slurm", "--job.hostfile", "hosts"], "--on slurm does not read job.hostfile (hosts): add --on host"),
    ],
)
def test_settings_of_another_place_are_refused(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["graph", "--shards", "x", "--out", "y", *words]) == 2
    assert said in capsys.readouterr().err


def test_a_rank_takes_the_words_of_the_command_that_started_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    words = ["--job.hostfile", "hosts", "--job.hosts", "2", "--job.no_ssh", "--job.node_rank", "0"]
    assert main(["graph", "--shards", str(tmp_path), "--out", str(tmp_path / "out"), *words]) == 2
    assert "Refused: A shard set must hold manifest.json" in capsys.readouterr().err


def test_a_stage_that_is_one_process_is_refused_over_several_hosts() -> None:
    with pytest.raises(Refusal, match="'finetune' is one process: run it on one host; those that share are graph, pre"):
        start("finetune", [], Job(), on="hostfile")


def test_ranks_start_no_others(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name, value in {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["pretrain", "--on", "slurm"]) == 2
    assert "but these would start others (--on slurm): leave the launcher, or --on, out" in capsys.readouterr().err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_terminated_launcher_takes_its_ranks_with_it(tmp_path: Path, number: signal.Signals) -> None:
    (tmp_path / "wait.py").write_text(
        "import os, sys, time, pathlib\n"
        "pathlib.Path(sys.argv[2], os.environ['RANK']).write_text(str(os.getpid()))\n"
        "time.sleep(120)\n"
    )
    code = (
        "import launch.start as start; start.MODULE = 'wait'; "
        f"raise SystemExit(start.start('graph', [{str(tmp_path)!r}], start.Job(processes=2)))"
    )
    paths = f"{tmp_path}{os.pathsep}{ROOT}"
    with subprocess.Popen([sys.executable, "-c", code], env=os.environ | {"PYTHONPATH": paths}) as parent:
        pids = _wait_for_ranks(tmp_path)
        parent.send_signal(number)
        assert parent.wait(timeout=60) != 0
    for pid in pids:
        assert not _alive(pid)


def _wait_for_ranks(folder: Path) -> list[int]:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        files = [folder / str(rank) for rank in range(2)]
        if all(file.exists() and file.read_text() for file in files):
            return [int(file.read_text()) for file in files]
        time.sleep(0.2)
    raise AssertionError("the ranks did not start within 90 seconds")


def _alive(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] != "Z"


def test_a_stage_that_is_one_process_is_refused_as_several_ranks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in {"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert main(["pack"]) == 2
    said = capsys.readouterr().err
    assert said == "Refused on rank 1: The stage 'pack' must be one process, but 2 of it were started: start one.\n"
