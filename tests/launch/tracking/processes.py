"""A real MLflow server that can be killed, suspended and brought back, and runs in processes of their own."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from mlflow import MlflowClient

ROOT = Path(__file__).parents[3]
WORKER = Path(__file__).with_name("run_worker.py")
PATIENCE = 120.0
"""Seconds after which a server, or a process, counts as hung."""


class Server:
    """`mlflow server` on a sqlite store, at an address that stays the same."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.database = folder / "server.db"
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Returns when it answers; at once where it does already."""
        if self._process:
            return
        words = ["--backend-store-uri", f"sqlite:///{self.database}", "--host", "127.0.0.1"]
        words += ["--artifacts-destination", str(self._folder / "files"), "--port", str(self._port), "--workers", "1"]
        with (self._folder / "log").open("a") as log:
            command = [sys.executable, "-m", "mlflow", "server", *words]
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env=os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        end = time.monotonic() + PATIENCE
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                    return
            except OSError:
                assert time.monotonic() < end, (self._folder / "log").read_text()
                time.sleep(0.1)

    def send(self, number: int) -> None:
        """Sends a signal to all of its processes."""
        assert self._process
        os.killpg(self._process.pid, number)

    def kill(self) -> None:
        """SIGKILL, to all of its processes; returns when nobody listens any more."""
        if self._process:
            self.send(signal.SIGKILL)
            self._process.wait()
        self._process = None

    def client(self) -> MlflowClient:
        """A client of it."""
        return MlflowClient(self.uri)


class Worker:
    """A process with a run, whose steps can be followed."""

    def __init__(self, root: Path, *words: str | Path, uri: str = "", env: dict[str, str] | None = None) -> None:
        command = [sys.executable, str(WORKER), str(root), "--uri", uri, *map(str, words)]
        self.lines: list[str] = []
        self.process = subprocess.Popen(
            command,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | (env or {}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def until(self, *beginnings: str) -> None:
        """Waits until lines that begin so have come, in whatever order."""
        assert self.process.stdout is not None
        missing = set(beginnings)
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            missing -= {each for each in missing if line.startswith(each)}
            if not missing:
                return
        raise AssertionError(self.said)

    def end(self) -> int:
        """Its exit code, after all it says."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        return self.process.wait(PATIENCE)

    def say(self, word: str) -> None:
        """Lets it go on."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{word}\n")
        self.process.stdin.flush()

    @property
    def run_id(self) -> str:
        """The id of its run, as it knows it."""
        return next(line.split()[1] for line in self.lines if line.startswith("run "))

    @property
    def said(self) -> str:
        """All it said so far."""
        return "\n".join(self.lines)


Work = Callable[..., Worker]


def points(client: MlflowClient, run_id: str, name: str) -> list[tuple[int, float]]:
    """Step and value of all points of a metric, in the order of steps."""
    return sorted((point.step, point.value) for point in client.get_metric_history(run_id, name))


def only_run(client: MlflowClient, experiment: str) -> str:
    """The id of the only run in an experiment."""
    found = client.get_experiment_by_name(experiment)
    assert found
    runs = client.search_runs([found.experiment_id])
    assert len(runs) == 1, [run.info for run in runs]
    return runs[0].info.run_id
