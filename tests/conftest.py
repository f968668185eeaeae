"""What every room's tests share: where the real tables lie, and an environment without leftovers of a launcher."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from launch.world import World
from tests import disks

if TYPE_CHECKING:
    from tests.launch.tracking.processes import Server

ROOT = Path(__file__).parents[1]
LAUNCHER_WORDS = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_SIZE", "MASTER_ADDR", "MASTER_PORT")


@pytest.fixture(autouse=True)
def _private_environment(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    for name in LAUNCHER_WORDS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TORCH_EXTENSIONS_DIR", str(tmp_path_factory.mktemp("torch_extensions")))
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    """Gives this process its handlers back: one that was asked to stop ignores further requests for good."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture(autouse=True, scope="session")
def _interrupts() -> None:
    """Lets the processes that tests start hear Ctrl-C, also where a script's background started the tests."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True, scope="session")
def _one_world() -> Iterator[None]:
    """The process of the tests never leaves its world: DeepSpeed remembers groups, so it could not join another."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(World, "close", lambda world: None)
        yield


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Mounts a file system of so many KiB; the test is skipped where that is not allowed."""
    mounted: list[Path] = []

    def mount(kib: int) -> Path:
        place = tmp_path / f"disk{len(mounted)}"
        disks.mount(place, kib)
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        disks.unmount(place)


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Server]":
    """A real MLflow server, for the tests of a module in turn."""
    from tests.launch.tracking.processes import Server  # MLflow is slow to import: only where it is used

    server = Server(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def server(one_server: "Server") -> "Server":
    """The server, running, whatever a test before did to it."""
    one_server.start()
    return one_server


@pytest.fixture(scope="session")
def llp() -> Path:
    """The folder of the real LLP tables: `LLP_TABLES`, else `../shared/llp`; the test is skipped without them."""
    folder = Path(os.environ.get("LLP_TABLES", ROOT.parent / "shared" / "llp"))
    if not (folder / "AVVP_train.csv").exists():
        pytest.skip("the real LLP tables are not here: set LLP_TABLES to their folder")
    return folder
