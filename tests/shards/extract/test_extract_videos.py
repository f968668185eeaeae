"""From video files to features by the real decoder: what a user meets in a folder of downloads."""

import csv
import shutil
import sys
from functools import partial
from pathlib import Path

import pytest
import torch

from launch.__main__ import main
from shards.extract.container import MAX_PIXELS
from shards.extract.decoding.opening import open_decoder
from shards.extract.filming.encode import write_video
from shards.extract.making.means import Means, means_of
from shards.extract.media import examine
from shards.extract.settings import ExtractSettings
from shards.read import Shards
from shards.schema import PRESENT
from tests.shards.at_work import contents
from tests.shards.extract.fakes import means, run
from tests.shards.extract.material import changed, copy, flat, tone, usual

STRANGE = ("-x.mp4", "日本語 ü %03d.mp4", "concat:a|b.mp4", "$(touch pwned).mp4")


def real(max_pixels: int = MAX_PIXELS) -> Means:
    """The means of a test that decodes files, and averages what it sees and hears."""
    looks = partial(examine, max_pixels=max_pixels, audio_track=None)
    return means(examine=looks, decoder=open_decoder("pyav", max_pixels))


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of four seconds with a picture and a sound."""
    return usual(tmp_path_factory.mktemp("film") / "film.mp4")


def failures(out: Path) -> dict[str, tuple[str, str]]:
    """File → second and reason."""
    rows = csv.DictReader((out / "failures.csv").open())
    return {row["file"]: (row["second"], row["reason"]) for row in rows}


def present(out: Path) -> dict[str, list[list[int]]]:
    """Key → whether there is audio, and a picture, in each of ten seconds."""
    shards = Shards.open(out)
    rows = shards.batch(range(len(shards)), [PRESENT]).features[PRESENT]
    return {key: row.T.astype(int).tolist() for key, row in zip(shards.keys, rows, strict=True)}


def test_a_folder_with_a_thousand_files_gives_what_is_of_use_and_a_reason_for_all_else(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = tmp_path / "videos"
    for number in range(1000):
        folder = videos / f"{number % 7}"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.mp4").write_text(f"Sorry, this video is not available ({number}).\n" * (number % 5))
    for name in (*STRANGE, "a\nb.mp4"):
        shutil.copy(film, videos / name)
    changed(film, videos / "no index.mp4", lambda content: content[: len(content) // 2])
    (videos / "list.mp4").write_text("#EXTM3U\n#EXTINF:10,\nhttp://127.0.0.1:9/secret.ts\n")
    run(videos, tmp_path / "out", means=real(), processes=2)
    assert Shards.open(tmp_path / "out").keys == tuple(sorted(f"{Path(name).stem}_0_4" for name in STRANGE))
    told = failures(tmp_path / "out")
    assert len(told) == 1003
    assert {r"a\nb.mp4", "no index.mp4", "list.mp4", "0/0000.mp4", "1/0001.mp4"} <= set(told)
    for _, reason in told.values():
        assert reason.endswith(".")
        assert reason.isprintable()
        assert len(reason) < 500
    said = capsys.readouterr().out
    assert "… and 998 more" in said
    assert not list(tmp_path.glob("**/pwned*"))


def test_the_bytes_depend_neither_on_processes_nor_on_what_else_is_there(film: Path, tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        (tmp_path / "videos").mkdir(exist_ok=True)
        shutil.copy(film, tmp_path / "videos" / name)
    for processes in (1, 2):
        run(tmp_path / "videos", tmp_path / f"by{processes}", means=real(), processes=processes, videos_per_shard=1)
    assert contents(tmp_path / "by1") == contents(tmp_path / "by2")
    (tmp_path / "videos" / "c.mp4").unlink()
    run(tmp_path / "videos", tmp_path / "fewer", means=real(), videos_per_shard=1)
    for name in ("000000.tar", "000001.tar"):
        assert (tmp_path / "fewer" / name).read_bytes() == (tmp_path / "by1" / name).read_bytes()


def test_tracks_that_are_missing_or_end_early_are_absent_and_said(film: Path, tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    write_video(videos / "mute.mp4", (flat(90) for _ in range(50)), 25)
    write_video(videos / "heard.mp4", None, sound=tone(3))
    write_video(videos / "longer.mp4", (flat(90) for _ in range(50)), 25, tone(4))
    write_video(videos / "second.mp4", (flat(90) for _ in range(25)), 25, tone(1))
    run(videos, tmp_path / "out", means=real())
    found = present(tmp_path / "out")
    assert found.keys() == {"heard_0_3", "longer_0_4", "mute_0_2", "second_0_1"}
    for key, (audio, visual) in {
        "heard_0_3": (3, 0),
        "longer_0_4": (4, 2),
        "mute_0_2": (0, 2),
        "second_0_1": (1, 1),
    }.items():
        assert found[key] == [[1] * audio + [0] * (10 - audio), [1] * visual + [0] * (10 - visual)], key
    loud = Shards.open(tmp_path / "out").read(2).features["loudness"]
    assert not loud.any()
    told = (tmp_path / "out" / "clips.json").read_text()
    assert "no sound" in told


def test_of_a_truncated_file_what_is_there_is_taken_and_the_rest_is_named_with_its_second(tmp_path: Path) -> None:
    videos = tmp_path / "videos"
    videos.mkdir()
    whole = tmp_path / "whole.mp4"
    write_video(whole, (flat(number % 200) for number in range(30 * 10)), 10, tone(30))
    first = copy(whole, tmp_path / "first.mp4", movflags="faststart")
    changed(first, videos / "cut.mp4", lambda content: content[: int(len(content) * 0.45)])
    run(videos, tmp_path / "out", means=real())
    keys = Shards.open(tmp_path / "out").keys
    assert "cut_0_10" in keys
    assert "cut_20_30" not in keys
    second, reason = failures(tmp_path / "out")["cut.mp4"]
    assert 10 <= float(second) <= 20
    assert "cut.mp4" in reason


def test_a_picture_larger_than_the_limit_is_named(film: Path, tmp_path: Path) -> None:
    (tmp_path / "videos").mkdir()
    shutil.copy(film, tmp_path / "videos" / "a.mp4")
    write_video(tmp_path / "videos" / "big.mp4", (flat(90, 128, 256) for _ in range(10)), 10)
    run(tmp_path / "videos", tmp_path / "out", means=real(max_pixels=128 * 200))
    assert Shards.open(tmp_path / "out").keys == ("a_0_4",)
    assert "256" in failures(tmp_path / "out")["big.mp4"][1]


def test_the_stage_makes_the_features_of_llp_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "videos").mkdir()
    write_video(tmp_path / "videos" / "-one.mp4", (flat(9 * number) for number in range(8)), 8, tone(1))
    (tmp_path / "weights").mkdir()
    words = ["--out", tmp_path / "out", "--weights.missing", "random", "--weights.folder", tmp_path / "weights"]
    words += ["--tracking.root", tmp_path / "runs", "--device", "cpu", "--images_per_second", 1]
    assert main(["extract", str(tmp_path / "videos"), *map(str, words)]) == 0
    assert capsys.readouterr().out.count("RANDOM WEIGHTS: vggish, resnet152, r2plus1d_18") == 2
    shards = Shards.open(tmp_path / "out")
    assert shards.keys == ("-one_0_1",)
    features = shards.manifest.features
    assert {name: each.width for name, each in features.items()} == {
        "vggish": 128,
        "resnet152": 2048,
        "r2plus1d_18": 512,
        PRESENT: 2,
    }
    assert all("random weights" in features[name].variant for name in ("vggish", "resnet152", "r2plus1d_18"))
    assert "pyav" in shards.manifest.source["decoder"]
    found = shards.read(0).features
    for name in ("resnet152", "r2plus1d_18"):
        assert found[name][0].any()
        assert not found[name][1:].any()


def test_weights_that_are_not_there_are_refused_before_anything_is_done(
    film: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["extract", str(film), "--out", str(tmp_path / "out"), "--weights.folder", str(tmp_path)]
    assert main([*words, "--tracking.root", str(tmp_path / "runs")]) == 2
    assert "vggish" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_without_the_extra_one_sentence_says_what_to_install(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delitem(sys.modules, "shards.extract.media")
    monkeypatch.setitem(sys.modules, "av", None)
    assert main(["extract", str(film), "--out", str(tmp_path / "out")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "av is not installed: pip install 'soundsight[video]'" in said


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a CUDA device")
    with pytest.raises(Exception, match="no CUDA device that PyTorch sees: --device cpu"):
        means_of(ExtractSettings(device="cuda"))


def test_the_limit_of_pixels_is_the_decoders_own() -> None:
    assert ExtractSettings().max_pixels == MAX_PIXELS
