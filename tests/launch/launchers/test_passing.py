"""Words and values pass deepspeed's runner, pdsh and a far shell unchanged; what real hosts do is tested with those."""

import subprocess
from pathlib import Path

import pytest
from deepspeed.launcher.multinode_runner import PDSHRunner

from launch.launchers.passing import escaped, file_of, quoted, secret, users_own

WORDS = [
    "plain",
    "two words",
    "",
    "a'b",
    'say "hi" now',
    "$HOME",
    "a $HOME `id` \\ b",
    "*",
    "a;b",
    "%n %h",
    "100%",
    "é ü",
]


class Arguments:
    """What the runner reads of its command line."""

    def __init__(self, words: list[str]) -> None:
        self.user_args, self.user_script = words, "launch"


def through_shell(line: str) -> list[str]:
    """The words that a program finds when a far shell, to which pdsh hands a line, starts it."""
    line = line.replace("%%", "\0").replace("%n", "7").replace("\0", "%")
    ended = subprocess.run(["bash", "-c", f"printf '%s\\0' {line}"], capture_output=True, text=True, check=True)
    return ended.stdout.split("\0")[:-1]


@pytest.mark.parametrize("word", WORDS)
def test_a_word_of_a_stage_comes_to_its_ranks_unchanged(word: str) -> None:
    runner = PDSHRunner(Arguments([quoted(word)]), "")
    assert through_shell(" ".join(runner.user_arguments)) == [word]


@pytest.mark.parametrize("value", [word for word in WORDS if word == word.strip()])
def test_a_variable_comes_to_the_ranks_unchanged(value: str) -> None:
    runner = PDSHRunner(Arguments([]), "")
    runner.add_export("NAME", escaped(value) + "\n")
    line = runner.exports["NAME"].replace("%%", "%")
    ended = subprocess.run(
        ["bash", "-c", f'export NAME={line}; printf %s "$NAME"'], capture_output=True, text=True, check=True
    )
    assert ended.stdout == value


def test_passwords_are_told_from_other_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    held = {
        "MLFLOW_TRACKING_PASSWORD": "x",
        "MLFLOW_TRACKING_TOKEN": "x",
        "MLFLOW_TRACKING_URI": "http://me:word@host:5000",
        "MLFLOW_REGISTRY_URI": "http://host:5000",
        "MLFLOW_TRACKING_USERNAME": "me",
        "PYTHONPATH": "a:b",
    }
    for name, value in held.items():
        monkeypatch.setenv(name, value)
    assert [name for name in held if secret(name)] == list(held)[:3]


def test_the_user_s_own_files_of_variables_are_still_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, line in (("home", "A=1"), ("here", "\n# mine\n  # mine\nB=2\n\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / ".deepspeed_env").write_text(line)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    monkeypatch.chdir(tmp_path / "here")
    assert users_own() == "A=1\nB=2\n"
    monkeypatch.setenv("DS_ENV_FILE", "none")
    assert users_own() == ""


def test_the_user_s_own_variables_win_over_those_chosen_here_but_not_over_the_roster_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".deepspeed_env").write_text("PATH=/mine\nNCCL_SOCKET_IFNAME=ib0\nLAUNCH_ROSTER=mine\n")
    found = read_by_runner(tmp_path, monkeypatch)
    assert found == {"PATH": "/mine", "NCCL_SOCKET_IFNAME": "ib0", "OMP_NUM_THREADS": "2", "LAUNCH_ROSTER": "ours"}


def test_an_empty_file_of_variables_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".deepspeed_env").write_text("")
    found = read_by_runner(tmp_path, monkeypatch)
    assert found == {"PATH": "/bin", "NCCL_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "2", "LAUNCH_ROSTER": "ours"}


def read_by_runner(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What deepspeed's runner makes of our file where the user's own lies in a folder."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.delenv("DS_ENV_FILE", raising=False)
    monkeypatch.chdir(folder)
    chosen = {"PATH": "/bin", "NCCL_SOCKET_IFNAME": "eth0", "OMP_NUM_THREADS": "2"}
    runner = PDSHRunner(Arguments([]), "")
    for line in file_of(chosen, {"LAUNCH_ROSTER": "ours"}).splitlines(keepends=True):
        runner.add_export(*line.split("=", maxsplit=1))
    return dict(runner.exports)
