"""`verify` names every fault of a set, whatever their number, and says what its values look like."""

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.manifest import Shard
from shards.read import ReadSettings
from shards.schema import Feature, Video
from shards.statistics import Looks, Statistics, together
from shards.tars.index import check_digest
from shards.verify import Config, main
from shards.write import Writer
from tests.shards.servers import web
from tests.shards.sets import KEYS, entry, member, overwrite, sealed, tar, write


def faults(folder: Path, capsys: pytest.CaptureFixture, processes: int = 1) -> list[str]:
    with pytest.raises(Refusal, match=r"must be as their manifests say, but \d+ fault"):
        main(Config(shards=str(folder), processes=processes))
    return [line for line in capsys.readouterr().out.splitlines() if line.startswith("Fault: ")]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of five videos in shards of two, two and one."""
    write(tmp_path / "set")
    return tmp_path / "set"


def test_a_whole_set_has_no_fault(folder: Path, capsys: pytest.CaptureFixture) -> None:
    main(Config(shards=str(folder), processes=1))
    assert re.search(r"Checked '.*set': 5 videos in 3 shards, manifest \w{12}, no faults\.", capsys.readouterr().out)


def test_every_set_of_a_folder_is_checked(folder: Path, capsys: pytest.CaptureFixture) -> None:
    main(Config(shards=str(folder.parent), processes=1))
    assert "5 videos" in capsys.readouterr().out


@pytest.mark.parametrize("processes", [1, 2])
def test_every_fault_is_named_and_the_exit_code_tells(
    folder: Path, capsys: pytest.CaptureFixture, processes: int
) -> None:
    overwrite(folder / "000000.tar", 800, b"\x3f")
    (folder / "000001.tar").unlink()
    (folder / "stray.tar").touch()
    found = faults(folder, capsys, processes)
    for each, message in zip(
        found,
        (
            "000000.tar' has .*altered since",
            "'-Ab_0_10' in '.*000000.tar' does not: the shard was damaged",
            "000001.tar' is missing",
            "stray.tar' is not: remove it",
        ),
        strict=True,
    ):
        assert re.search(message, each)


def test_the_command_ends_with_a_code_that_is_not_zero(folder: Path) -> None:
    command = [sys.executable, "-m", "launch", "verify", "--shards", str(folder), "--processes", "1", "--statistics"]
    whole = subprocess.run(command, capture_output=True, text=True, check=False)
    assert whole.returncode == 0
    assert re.search(r"^vggish +0\.\d+ .* raw +raw$", whole.stdout, re.MULTILINE)
    (folder / "000001.tar").unlink()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 2


def test_a_shard_that_the_disk_cannot_read_is_a_fault_beside_the_others(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(path: Path, *_: object) -> None:
        if path.name == "000000.tar":
            raise OSError(5, "Input/output error", str(path))

    monkeypatch.setattr("shards.verify.check_digest", broken)
    (folder / "000001.tar").unlink()
    found = faults(folder, capsys)
    assert "000000.tar' is not: Input/output error" in found[0]
    assert "000001.tar' is missing" in found[1]


def test_a_fetched_shard_that_made_way_is_checked_again(
    folder: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    robbed: list[Path] = []

    def rob_once(path: Path, shard: Shard) -> None:
        if path not in robbed:
            robbed.append(path)
            path.unlink()
        check_digest(path, shard)

    monkeypatch.setattr("shards.verify.check_digest", rob_once)
    with web(folder.parent) as server:
        main(Config(shards=f"{server.url}/set", processes=1, reading=ReadSettings(cache=tmp_path / "cache")))
    assert "no faults" in capsys.readouterr().out
    assert len(robbed) == 3


def test_values_that_are_not_finite_are_found(folder: Path, capsys: pytest.CaptureFixture) -> None:
    name, content = member(KEYS[0])
    tar(folder / "000000.tar", [(name, content[:-2] + np.array([np.nan], np.float16).tobytes()), member(KEYS[1])])
    sealed(folder)
    (found,) = faults(folder, capsys)
    assert re.search(r"must be finite, but 'vggish' of video '-Ab_0_10' holds nan .*at second 9, column 3", found)


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([member(KEYS[0]), member("x_0_10"), member("y_0_10")], "holds 3 instead of 2"),
        ([member(KEYS[0]), ("x_0_10.pickle", b"")], "holds 'x_0_10.pickle'"),
        ([member(KEYS[0]), entry("x", b"5")], "'x' in .* is a directory"),
        ([member(KEYS[0]), ("AP_101.8_111.8.safetensors", b"")], r"'AP_101%2E8_111%2E8'"),
        ([member(KEYS[0]), ("x_0_10.safetensors", b"garbage")], "'x_0_10' in .* is damaged"),
        ([member(KEYS[0]), member(KEYS[2])], "'50%_1_11' is 2 times in"),
    ],
)
def test_a_set_whose_checksums_agree_is_looked_into(
    folder: Path, capsys: pytest.CaptureFixture, entries: list, message: str
) -> None:
    tar(folder / "000000.tar", entries)
    sealed(folder, videos=2)
    assert re.search(message, "\n".join(faults(folder, capsys)))


def test_statistics_are_those_of_all_values(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    generator = np.random.default_rng(0)
    arrays = [generator.integers(0, 256, (10, 128)).astype(np.float32) for _ in range(7)]
    arrays[3][:4] = 0
    with Writer(tmp_path / "set", [Feature("vggish", 128, "raw")], {}, 2) as writer:
        for number, array in enumerate(arrays):
            writer.add(Video(f"{number}_0_10", {"vggish": array}))
    main(Config(shards=str(tmp_path / "set"), statistics=True, processes=1))
    line = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("vggish"))
    values = np.stack(arrays)
    zeros, silent = (values == 0).mean(), (values == 0).all(-1).mean()
    expected = ["vggish", f"{values.mean():.4g}", f"{values.std():.4g}", f"{zeros:.1%}", f"{silent:.1%}", "0", "255"]
    assert line.split() == [*expected, "raw", "quantised"]


def test_parts_add_up_where_raw_squares_would_cancel() -> None:
    values = 1e8 + np.random.default_rng(1).random((40, 10))
    parts = [{"x": Looks(Statistics.of(part))} for part in np.split(values, 4)]
    assert together(parts)["x"].statistics.deviation == pytest.approx(values.std(), rel=1e-6)


def test_no_shards_have_no_statistics() -> None:
    assert together([]) == {}
