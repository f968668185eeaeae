"""An address that MLflow does not take, or that holds a password, is refused with a sentence before anything starts."""

import shlex
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow.store.fs2db.cli import migrate_filestore

from launch.refusal import Refusal
from launch.tracking import Tracking

ROOT = Path(__file__).parents[3]


def test_without_an_address_the_store_is_a_file_under_the_root(tmp_path: Path) -> None:
    assert Tracking(root=tmp_path).store == f"sqlite:///{tmp_path}/mlflow.db"


def test_a_sqlite_address_means_the_same_file_from_every_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Tracking(uri="sqlite:///a/b.db").store == f"sqlite:///{tmp_path}/a/b.db"
    assert Tracking(uri="sqlite:////a/b.db").store == "sqlite:////a/b.db"


@pytest.mark.parametrize("uri", ["http://host:5000", "https://host/mlflow", "postgresql+psycopg2://me@host/db"])
def test_a_server_or_a_database_is_taken_as_it_is(uri: str) -> None:
    assert Tracking(uri=uri).store == uri


@pytest.mark.parametrize(
    ("uri", "sentence"),
    [
        ("htp://host", r"begins with 'htp': did you mean 'http'\?"),
        ("ftp3://host", r"MLflow takes \(http, https, sqlite, .*but 'ftp3://host' begins with 'ftp3'"),
        ("http:///path", r"must name a server, but 'http:///path' does not: write http://HOST:PORT\."),
        ("sqlite://", r"must name the file of a sqlite store"),
        ("sqlite:///:memory:", r"must name the file of a sqlite store"),
        ("sqlite:mlflow.db", r"must name the file of a sqlite store"),
    ],
)
def test_an_address_that_mlflow_does_not_take_is_refused(uri: str, sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        Tracking(uri=uri)


@pytest.mark.parametrize(
    "uri",
    [
        "http://me:hidden@host:5000",
        "https://hidden@host",
        "postgresql://me:hidden@host/db",
        "mysql+pymysql://host/db?password=hidden",
        "htp://me:hidden@host",
        "file://me:hidden@host/runs",
        "//me:hidden@host/runs",
        "http:me:hidden@host",
    ],
)
def test_a_password_in_an_address_is_refused_and_not_repeated(uri: str) -> None:
    with pytest.raises(Refusal) as refused:
        Tracking(uri=uri)
    assert "host" in str(refused.value)
    assert "hidden" not in str(refused.value)


def test_a_folder_on_a_server_is_refused_and_its_password_not_repeated() -> None:
    with pytest.raises(
        Refusal, match=r"but 'file://\*\*\*@host/x' is a folder: leave it empty for .*tracking\.root\.$"
    ):
        Tracking(uri="file://me:hidden@host/x")
    with pytest.raises(Refusal, match=r"must name a server, but 'http:\*\*\*@host' does not"):
        Tracking(uri="http:me:hidden@host")


def test_a_refused_password_says_where_it_belongs() -> None:
    with pytest.raises(
        Refusal, match=r"'http://\*\*\*@h' does: set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    ):
        Tracking(uri="http://me:hidden@h")
    with pytest.raises(Refusal, match=r"does: let the driver read it \(~/\.pgpass"):
        Tracking(uri="postgresql://me:hidden@h/db")


@pytest.mark.parametrize("form", ["{folder}", "file:{folder}", "file://{folder}"])
def test_a_folder_is_refused_with_the_command_that_moves_its_runs(form: str, tmp_path: Path) -> None:
    """The command is run: it takes this version's words, and the store it makes is taken."""
    folder, root = tmp_path / "my mlruns", tmp_path / "runs"
    (folder / "0").mkdir(parents=True)
    (folder / "0" / "meta.yaml").write_text(
        "artifact_location: file:///tmp\nexperiment_id: '0'\nlifecycle_stage: active\nname: Default\n"
    )
    with pytest.raises(Refusal, match=r"tracking\.uri must be a server or a database") as refused:
        Tracking(uri=form.format(folder=folder), root=root)
    command, uri = str(refused.value).split("`")[1], str(refused.value).split("--tracking.uri ")[1].rstrip(".")
    make, move = command.split(" && ")
    subprocess.run(shlex.split(make), check=True)
    words = shlex.split(move)
    assert words[:2] == ["mlflow", "migrate-filestore"]
    migrate_filestore.main(words[2:], standalone_mode=False)
    store = Tracking(uri=uri, root=root).store
    with sqlite3.connect(store.removeprefix("sqlite:///")) as database:
        assert ("Default",) in database.execute("select name from experiments").fetchall()


def test_a_command_with_a_wrong_address_says_one_sentence_and_starts_nothing(tmp_path: Path) -> None:
    words = ["synthesise", "--out", str(tmp_path / "out"), "--tracking.uri", "http://me:hidden@h"]
    ended = subprocess.run(
        [sys.executable, "-m", "launch", *words], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("Refused: tracking.uri must hold no password")
    assert "hidden" not in ended.stderr + ended.stdout
    assert list(tmp_path.iterdir()) == []
