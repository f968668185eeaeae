"""What a result says it was made with: every setting that matters, and no path."""

import json
import socket
from pathlib import Path
from typing import Any

from finetune.reproduction.code import code, commit
from finetune.reproduction.trials import defaults, machine, told
from finetune.train import Config


def config(folder: Path, **values: Any) -> Config:
    return Config(shards=str(folder / "shards"), tables=folder / "tables", out=folder / "out", **values)


def test_settings_that_fix_a_training_are_told_and_those_that_do_not_are_not(tmp_path: Path) -> None:
    usual = told(config(tmp_path))
    assert usual == defaults()
    for other in ({"training": {"epochs": 3}}, {"protocol": {"gate": "none"}}, {"missing": "skip"}):
        assert told(config(tmp_path, **other)) != usual
    for same in ({"seed": 3}, {"replace": True}, {"training": {"record_every": 3}}, {"tracking": {"name": "x"}}):
        assert told(config(tmp_path, **same)) == usual


def test_no_path_is_told(tmp_path: Path) -> None:
    encoder = {"encoder": tmp_path / "encoder"}
    assert str(tmp_path) not in json.dumps(dict(told(config(tmp_path, parser=encoder))))


def test_labels_from_outside_are_told_by_what_they_hold_not_by_where_they_lie(tmp_path: Path) -> None:
    for folder, content in (("one", b"1"), ("same", b"1"), ("other", b"2")):
        (tmp_path / folder / "audio").mkdir(parents=True)
        (tmp_path / folder / "audio" / "a.npy").write_bytes(content)
    one, same, other = (
        told(config(tmp_path, cleaning={"labels": "pseudo", "pseudo": tmp_path / folder}))
        for folder in ("one", "same", "other")
    )
    assert one == same
    assert one != other
    assert str(tmp_path) not in json.dumps(dict(one))


def test_the_machine_is_told_without_its_name() -> None:
    assert {"device", "cores", "threads", "torch"} == set(machine())
    assert socket.gethostname() not in json.dumps(machine())


def test_code_is_told_by_its_files_and_by_its_commit_where_there_is_one() -> None:
    assert code() == code()
    assert len(code()) == 64
    assert commit() == "" or set(commit().removesuffix("-dirty")) <= set("0123456789abcdef")
