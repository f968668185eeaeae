"""The store of runs: a real server, none at all, one that is silent, one that is something else; files likewise."""

import http.server
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from launch.doctor import store
from launch.doctor.store import check
from launch.tracking import Tracking
from launch.tracking.journal import Journal
from tests.launch.tracking.processes import Server


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    made = Server(tmp_path_factory.mktemp("server"))
    made.start()
    yield made
    made.kill()


@contextmanager
def listening() -> Iterator[int]:
    """The port of somebody who never answers."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        yield silent.getsockname()[1]


def test_a_server_that_answers_is_fine(server: Server, tmp_path: Path) -> None:
    (found,) = check(Tracking(root=tmp_path, uri=server.uri))
    assert found.state == "fine", found
    assert found.found.startswith(f"{server.uri}, MLflow 3.")
    assert " answers in " in found.found


def test_nobody_at_the_port_is_a_fault(tmp_path: Path) -> None:
    with listening() as port:
        pass
    (found,) = check(Tracking(root=tmp_path, uri=f"http://127.0.0.1:{port}"))
    assert found.state == "failed"
    assert found.found == f"http://127.0.0.1:{port} does not answer ([Errno 111] Connection refused)"
    assert "python -m launch sync" in found.remedy


def test_a_server_that_says_nothing_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "ANSWER", 0.5)
    with listening() as port:
        (found,) = check(Tracking(root=tmp_path, uri=f"http://127.0.0.1:{port}"))
    assert found.state == "failed"
    assert "does not answer (timed out)" in found.found


def test_a_server_of_something_else_is_a_fault(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        (found,) = check(Tracking(root=tmp_path, uri=f"http://127.0.0.1:{other.server_port}"))
        other.shutdown()
    assert found.state == "failed"
    assert "answers with 501 " in found.found


def test_a_name_that_does_not_exist_is_a_fault(tmp_path: Path) -> None:
    (found,) = check(Tracking(root=tmp_path, uri="http://no-such-host.invalid:5000"))
    assert found.state == "failed"
    assert found.found.startswith("http://no-such-host.invalid:5000 does not answer (")


def test_a_store_that_is_not_there_yet_is_not_made(tmp_path: Path) -> None:
    (found,) = check(Tracking(root=tmp_path / "runs"))
    assert (found.state, found.found) == ("fine", f"a store will be made at {tmp_path / 'runs' / 'mlflow.db'}")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store_is_a_fault(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    (found,) = check(Tracking(root=tmp_path))
    assert found.state == "failed"
    assert f"sqlite:///{tmp_path / 'mlflow.db'} cannot be opened" in found.found


def test_runs_that_wait_in_the_journal_are_told_and_those_that_are_written_are_not(tmp_path: Path) -> None:
    first, second = (Journal(tmp_path, name) for name in ("a1", "b2"))
    assert [each.check for each in check(Tracking(root=tmp_path))] == ["MLflow"]
    first.close(delete=False)
    (_, found) = check(Tracking(root=tmp_path))
    assert (found.check, found.state) == ("journal", "doubtful")
    assert found.found == f"a1 waits for the store in {tmp_path / 'journal'}"
    assert found.remedy.startswith(f"python -m launch sync --root {tmp_path} ")
    second.close(delete=False)
    assert check(Tracking(root=tmp_path))[1].found.startswith("2 runs wait ")
