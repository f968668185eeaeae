"""An extraction that was killed, refused or ran out of room goes on when started again, and its bytes never show it."""

import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from mlflow import MlflowClient

from launch.refusal import Refusal
from shards.extract.extract import Config, extract
from shards.read import Shards
from tests.disks import fill
from tests.shards.at_work import await_notes, contents, launched, notes, untracked
from tests.shards.extract.fake_decoder import Decoder, write
from tests.shards.extract.fakes import means, run

PER_SHARD, FILES = 3, 30
SHARDS = FILES // PER_SHARD * 2


def plant(folder: Path, wait: float = 0) -> Path:
    """Two clips a file; some of the first are damaged, others without sound."""
    for number in range(FILES):
        bad = {"bad": 15} if number % 7 == 3 else {}
        write(folder / f"{number:02d}.mp4", 20, mute=number % 5 == 0, noted=number % 2 == 0, wait=wait, **bad)
    (folder / "zz.txt").write_text("no video")
    return folder


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    return plant(tmp_path / "videos", wait=0.08)


@pytest.fixture
def undisturbed(videos: Path, tmp_path: Path) -> dict[str, bytes]:
    """What one process makes of the same at one go."""
    run(videos, tmp_path / "undisturbed", videos_per_shard=PER_SHARD)
    return contents(tmp_path / "undisturbed")


def start(videos: Path, out: Path) -> subprocess.Popen[str]:
    """The stage as a process of its own, with two decoders."""
    words = ["--videos", videos, "--out", out, "--videos_per_shard", PER_SHARD, "--processes", 2]
    return launched(untracked("tests.shards.extract.fakes"), list(map(str, words)))


def test_the_bytes_do_not_depend_on_the_number_of_processes(
    videos: Path, tmp_path: Path, undisturbed: dict[str, bytes]
) -> None:
    run(videos, tmp_path / "out", videos_per_shard=PER_SHARD, processes=3)
    assert contents(tmp_path / "out") == undisturbed


@pytest.mark.parametrize("seed", [0, 1])
def test_an_extraction_killed_at_any_moment_goes_on_and_its_bytes_do_not_show_it(
    videos: Path, tmp_path: Path, undisturbed: dict[str, bytes], seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    out, dice = tmp_path / "out", random.Random(seed)
    process = start(videos, out)
    await_notes(out, dice.randrange(1, SHARDS // 2), process)
    decoders = psutil.Process(process.pid).children()
    time.sleep(dice.random() * 0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not psutil.wait_procs(decoders, timeout=30)[1]
    left = len(notes(out))
    capsys.readouterr()
    run(videos, out, videos_per_shard=PER_SHARD)
    assert f"Took over {left} of {SHARDS} shards." in capsys.readouterr().out
    assert contents(out) == undisturbed
    assert not list(tmp_path.glob(".out*"))


def test_what_is_finished_is_neither_decoded_again_nor_are_its_networks_loaded(tmp_path: Path) -> None:
    videos, out = plant(tmp_path / "videos"), tmp_path / "out"
    write(videos / "zzz.mp4", 10, odd=True)
    (videos / "zz.txt").unlink()
    for number in range(3, FILES, 7):
        write(videos / f"{number:02d}.mp4", 20)
    with pytest.raises(Refusal, match="ZeroDivisionError"):
        run(videos, out, videos_per_shard=PER_SHARD, on_bad="stop")
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob(".out.part/*/result/*.tar")}
    assert len(kept) == SHARDS
    write(videos / "zzz.mp4", 10)
    decoded: list[Path] = []

    class Noting(Decoder):
        def decode(self, path, *asked):  # type: ignore[no-untyped-def]
            decoded.append(path)
            return super().decode(path, *asked)

    run(videos, out, videos_per_shard=PER_SHARD, means=means(decoder=Noting()))
    assert decoded == [videos / "zzz.mp4"]
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}.items() >= {
        (path.name, stamp) for path, stamp in kept.items()
    }


def test_a_finished_extraction_is_not_made_again_whatever_the_process_is_told_of_replacing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = plant(tmp_path / "videos"), tmp_path / "out"
    run(videos, out)
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}
    capsys.readouterr()
    idle = means(load=lambda: pytest.fail("loaded"), examine=lambda path: pytest.fail("examined"))
    for replace in (False, True):
        run(videos, out, means=idle, replace=replace)
        said = capsys.readouterr().out
        assert f"'{out}' holds this extraction already, 56 videos: nothing is left to do." in said
        assert "00.mp4" not in said
        assert "03.mp4, second 15" in said
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before
    with pytest.raises(Refusal, match=r"was made without 5: 03\.mp4, second 15"):
        run(videos, out, on_bad="stop")


@pytest.mark.parametrize("change", ["files", "list of parts", "videos_per_shard", "decoder", "recipe"])
def test_another_extraction_takes_the_place_of_a_finished_one_only_when_asked_and_says_so(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    videos, out = plant(tmp_path / "videos"), tmp_path / "out"
    run(videos, out)
    more: dict[str, object] = {}
    if change == "files":
        write(videos / "00.mp4", 30)
    elif change == "list of parts":
        more["segments"] = tmp_path / "segments.csv"
        (tmp_path / "segments.csv").write_text("00, 0, 10\n")
    elif change == "videos_per_shard":
        more["videos_per_shard"] = 7
    else:
        usual = means()
        brighter = type(usual.features[1])("brightness", 3, "another")
        more["means"] = means(
            **{"told": {"decoder": "other"}} if change == "decoder" else {"features": (usual.features[0], brighter)}
        )
    with pytest.raises(Refusal, match=rf"'.*out' holds one with another {change}: give another --out, or --replace"):
        run(videos, out, **more)
    before = Shards.open(out).manifest.digest
    capsys.readouterr()
    run(videos, out, replace=True, **more)
    assert f"Extracting again, for '{out}' holds one with another {change}." in capsys.readouterr().out
    assert Shards.open(out).manifest.digest != before


def test_a_second_start_goes_on_with_the_run_of_the_first_and_works_where_the_videos_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = plant(tmp_path / "videos")
    monkeypatch.chdir(videos)
    config = Config(videos=(Path(),), out=Path("out"), processes=1, videos_per_shard=PER_SHARD, on_bad="stop")
    (videos / "zz.txt").unlink()
    with pytest.raises(Refusal, match=r"03\.mp4' is damaged"):
        extract(config, means())
    for _ in range(2):
        extract(config.model_copy(update={"on_bad": "skip"}), means())
    said = capsys.readouterr().out
    assert "Took over 2 of 20 shards." in said
    assert "nothing is left to do" in said
    client = MlflowClient(config.tracking.store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment
    (last,) = client.search_runs([experiment.experiment_id])
    assert last.info.status == "FINISHED"


def test_what_no_extraction_wrote_is_never_replaced(tmp_path: Path) -> None:
    videos, out = plant(tmp_path / "videos"), tmp_path / "out"
    out.mkdir()
    (out / "thesis.docx").write_text("years of work")
    with pytest.raises(Refusal, match="must be new or empty"):
        run(videos, out)
    with pytest.raises(Refusal, match=r"'thesis\.docx', which no stage wrote"):
        run(videos, out, replace=True)
    assert (out / "thesis.docx").exists()


def test_a_result_that_lost_its_manifest_is_made_again_only_when_asked(tmp_path: Path) -> None:
    videos, out = plant(tmp_path / "videos"), tmp_path / "out"
    run(videos, out)
    before = contents(out)
    (out / "manifest.json").unlink()
    with pytest.raises(Refusal, match="must be new or empty"):
        run(videos, out)
    run(videos, out, replace=True)
    assert contents(out) == before


@pytest.mark.parametrize("name", ["000000.tar", "000000.index.safetensors", "clips.json", "failures.csv", "half"])
def test_a_result_that_lost_a_file_is_not_believed_and_made_again_only_when_asked(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    run(write(tmp_path / "videos" / "a.mp4", 3).parent, out)
    before = contents(out)
    if name == "half":
        (out / "000000.tar").write_bytes((out / "000000.tar").read_bytes()[:100])
    else:
        (out / name).unlink()
    lost = "000000.tar" if name == "half" else name
    with pytest.raises(Refusal, match=rf"hold a whole extraction, but '.*out' lacks '{lost}', or has it in another"):
        run(tmp_path / "videos", out)
    run(tmp_path / "videos", out, replace=True)
    assert contents(out) == before


def test_a_full_disk_is_a_sentence_and_the_same_command_goes_on(
    tmp_path: Path, small_disk: Callable[[int], Path], undisturbed: dict[str, bytes]
) -> None:
    disk = small_disk(1024)
    fill(disk)
    with (disk / "full").open("r+b") as file:
        file.truncate(file.seek(0, 2) - 120 * 1024)
    with pytest.raises(Refusal, match=r"must find room, but the disk of '.*out' is full: free some .* goes on"):
        run(tmp_path / "videos", disk / "out", videos_per_shard=PER_SHARD)
    assert notes(disk / "out")
    (disk / "full").unlink()
    run(tmp_path / "videos", disk / "out", videos_per_shard=PER_SHARD)
    assert contents(disk / "out") == undisturbed


def test_an_interrupt_ends_every_process_promptly_and_says_what_is_kept(videos: Path, tmp_path: Path) -> None:
    process = start(videos, tmp_path / "out")
    await_notes(tmp_path / "out", 2, process)
    decoders = [each for each in psutil.Process(process.pid).children() if "spawn_main" in " ".join(each.cmdline())]
    process.send_signal(signal.SIGINT)
    said, _ = process.communicate(timeout=30)
    assert not psutil.wait_procs(decoders, timeout=30)[1]
    assert len(decoders) == 2
    assert process.returncode != 0
    assert f"Kept {len(notes(tmp_path / 'out'))} of {SHARDS} shards" in said
