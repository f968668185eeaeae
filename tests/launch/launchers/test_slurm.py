"""Slurm scripts: what is rendered, what is refused, and what a shell makes of it. tests/cluster runs them in Slurm."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from launch.job import Job
from launch.launchers.slurm import Where, render, submit
from launch.refusal import Refusal
from tests.launch.launchers.golden import approved

WHERE = Where(Path("/shared/you"), Path("/shared/soundsight"), "/shared/soundsight/.venv/bin/python")
WORDS = ["pretrain/configs/base.toml", "--shards", "data/shards", "--out", "runs/pretrained"]
LARGE: dict[str, Any] = {
    "partition": "gpu",
    "account": "music",
    "qos": "long",
    "time": "2-00:00:00",
    "cpus": 12,
    "memory": "400G",
    "notice": 300,
    "setup": "module load cuda/12.8",
    "options": ("constraint=h100", "exclusive"),
}


def rendered(stage: str = "pretrain", words: list[str] = WORDS, where: Where = WHERE, **settings: Any) -> str:
    return render(stage, words, Job.model_validate(settings), where)


def test_a_job_of_several_nodes_is_the_script_that_was_approved() -> None:
    script = rendered(hosts=4, processes=8, interface="ib0", port=29_400, slurm=LARGE)
    assert script == approved("pretrain.sh", script)


def test_a_job_of_one_process_without_gpu_is_the_script_that_was_approved() -> None:
    script = rendered("export", ["--shards", "data/shards"], slurm={"gpus": 0, "name": "embeddings"})
    assert script == approved("export.sh", script)


def test_a_shell_takes_the_script_and_every_word_comes_through(tmp_path: Path) -> None:
    """`srun` is replaced by a command that prints what it is given; the rest of the script is run as it is."""
    words = [
        "größe ä.toml",
        "--name",
        "two words",
        "--a",
        "-1",
        "--b",
        'it\'s $HOME `date` \\ "x"',
        "--c",
        "line\nbreak",
    ]
    folder = tmp_path / "a b'c $d"
    folder.mkdir()
    script = rendered(words=words, where=Where(folder, Path("/my house"), "my python"), slurm={"gpus": 0})
    (tmp_path / "srun").write_text('#!/bin/sh\npwd\necho "$PYTHONPATH"\nprintf "%s\\0" "$@"\n')
    (tmp_path / "srun").chmod(0o755)
    variables = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "SLURM_JOB_ID": "7", "PYTHONPATH": "/more"}
    done = subprocess.run(["bash"], input=script, env=variables, capture_output=True, text=True, check=True, timeout=60)
    place, path, given = done.stdout.split("\n", maxsplit=2)
    assert (place, path) == (str(folder), "/my house:/more")
    assert given.split("\0")[2:-1] == ["my python", "-m", "launch", "pretrain", *words]


@pytest.mark.parametrize(
    ("stage", "requeue", "stops", "restarts"),
    [("pretrain", "requeue", 100, 3), ("graph", "requeue", 0, 3), ("pack", "no-requeue", 0, 0)],
)
def test_a_job_starts_again_only_where_its_stage_goes_on_by_itself(
    stage: str, requeue: str, stops: int, restarts: int
) -> None:
    script = rendered(stage, [])
    assert f"#SBATCH --{requeue}\n" in script
    assert f'if [ "$restarts" -lt {stops} ]' in script
    assert f"[ $deaths -le {restarts} ]" in script


def test_a_stage_that_is_one_process_is_refused_as_several() -> None:
    with pytest.raises(Refusal, match=r"'export' must be one process, but job\.hosts 2 and job\.processes 4 ask"):
        rendered("export", hosts=2, processes=4)


@pytest.mark.parametrize(
    ("words", "asked", "said"),
    [
        (["--tracking.uri", "https://me:word@host"], {}, r"'https://\*\*\*@host' does: export it in the shell"),
        (["--shards", "https://host/set?x=1&X-Amz-Signature=ab"], {}, r"'https://host/set\?\*\*\*' does: export it"),
        ([], {"setup": "export MLFLOW_TRACKING_PASSWORD=word"}, "sets MLFLOW_TRACKING_PASSWORD: export it in the"),
        ([], {"options": ("export=ALL,HF_TOKEN=word",)}, "sets HF_TOKEN: export it in the shell that submits"),
    ],
)
def test_a_secret_is_refused_without_being_shown(words: list[str], asked: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said) as refused:
        rendered(words=words, slurm=asked)
    assert "word@" not in str(refused.value)
    assert "=word" not in str(refused.value)


def test_what_is_no_secret_is_not_taken_for_one() -> None:
    words = ["--shards", "https://host:8080/set?version=2", "--tracking.uri", "postgresql://me@host/runs", "--tokens=3"]
    assert "version=2" in rendered(words=words, slurm={"setup": 'export HF_TOKEN="$(cat ~/.token)"'})


def test_a_folder_that_sbatch_could_not_read_is_refused() -> None:
    with pytest.raises(Refusal, match="output must be free of"):
        rendered(where=Where(Path('/a "b"')))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"options": ("--exclusive",)}, "'options' of SlurmSettings: must be sbatch's own words without dashes"),
        ({"options": ("comment=a\n#SBATCH --uid=0",)}, "must be sbatch's own words"),
        ({"partition": "gpu --uid=0"}, "'partition' of SlurmSettings: must be one word"),
        ({"notice": 1}, "'notice' of SlurmSettings: Input should be greater than or equal to 10"),
        ({"gpus": 2}, "'gpus' of SlurmSettings: Input should be less than or equal to 1"),
    ],
)
def test_settings_that_are_no_words_of_sbatch_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(Refusal, match=said):
        rendered(slurm=settings)


def test_a_dry_run_prints_the_script_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert submit("pretrain", WORDS, Job(), dry_run=True) == 0
    shown = capsys.readouterr().out
    assert shown == rendered(where=Where(tmp_path))
    subprocess.run(["bash", "-n"], input=shown, text=True, check=True, timeout=60)
    assert list(tmp_path.iterdir()) == []


def test_without_slurm_a_job_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Refusal, match="there is no `sbatch` here: submit it from a login node, or write the script"):
        submit("pretrain", WORDS, Job(), dry_run=False)
