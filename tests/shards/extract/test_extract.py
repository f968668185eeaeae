"""Extraction makes one set of all that is of use, says what was left out, and never leaves half of anything."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from launch.refusal import Refusal
from launch.stage import find
from launch.tracking import Tracking
from shards.extract.clips import Clip
from shards.extract.decoding import Wanted
from shards.extract.extract import Config, extract
from shards.extract.making.assembly import encode
from shards.read import Shards
from shards.schema import PRESENT
from shards.verify import Config as Verify
from shards.verify import main as verify
from tests.shards.extract.fake_decoder import RATE, SIZE, Decoder, write
from tests.shards.extract.fakes import Brightness, Loudness, means, run
from tests.shards.extract.reading import clips, failures


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two files of three clips, one of them without sound."""
    write(tmp_path / "videos" / "a.mp4", 12.5)
    write(tmp_path / "videos" / "deep" / "mute.mp4", 3, mute=True, noted=True)
    return tmp_path / "videos"


def test_the_set_holds_each_clips_features_in_order_padded_with_zeros(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    shards = Shards.open(tmp_path / "out")
    assert shards.keys == ("a_0_10", "a_10_12.5", "mute_0_3")
    assert list(shards.manifest.features) == ["loudness", "brightness", PRESENT]
    for place, (path, clip) in enumerate(
        [
            (videos / "a.mp4", Clip("a_0_10", 0, 10)),
            (videos / "a.mp4", Clip("a_10_12.5", 10, 12.5)),
            (videos / "deep" / "mute.mp4", Clip("mute_0_3", 0, 3)),
        ]
    ):
        (decoded,) = Decoder().decode(path, [clip], Wanted((SIZE,), (RATE,)))
        expected = encode(decoded, [Loudness(), Brightness()]).video.features
        found = shards.read(place).features
        for name, rows in expected.items():
            np.testing.assert_allclose(found[name], rows, rtol=1e-3)
            assert not found[name][clip.seconds :].any()
        assert found["brightness"][: clip.seconds].all()
    verify(Verify(shards=str(tmp_path / "out")))


def test_present_says_which_seconds_have_audio_and_which_a_picture(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    present = Shards.open(tmp_path / "out").batch(range(3), [PRESENT]).features[PRESENT]
    assert present[0].all()
    assert present[1].tolist() == [[1, 1]] * 3 + [[0, 0]] * 7
    assert present[2].tolist() == [[0, 1]] * 3 + [[0, 0]] * 7


def test_beside_the_shards_stands_where_each_clip_lies_and_what_is_known_of_it(videos: Path, tmp_path: Path) -> None:
    run(videos, tmp_path / "out")
    told = clips(tmp_path / "out")
    assert list(told) == ["a_0_10", "a_10_12.5", "mute_0_3"]
    file = str(videos / "a.mp4")
    assert told["a_10_12.5"] == {"file": file, "start": 10, "end": 12.5, "seconds": 12.5, "notes": []}
    assert told["mute_0_3"]["notes"] == ["It has no sound.", "Seen at 0."]


def test_the_manifest_tells_by_what_means_and_how_much_was_left_out(videos: Path, tmp_path: Path) -> None:
    write(videos / "c.mp4", 15, bad=10)
    (videos / "text.txt").write_text("no video")
    run(videos, tmp_path / "out")
    source = Shards.open(tmp_path / "out").manifest.source
    assert source == {
        "stage": "extract",
        "recipe": "llp",
        "decoder": "fake",
        "left_out": {"faults": 2, "clips": 1, "missing": 0},
    }


def test_what_is_no_use_is_listed_with_file_second_and_reason_and_the_rest_is_made(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(videos / "c.mp4", 25, bad=14)
    write(videos / "d.mp4", 10, odd=True)
    write(videos / "e.mp4", 10, loud=1e30)
    write(videos / "f.mp4", 12, vanishes=True)
    (videos / "text\n.txt").write_text("no video")
    run(videos, tmp_path / "out")
    assert Shards.open(tmp_path / "out").keys == ("a_0_10", "a_10_12.5", "c_0_10", "mute_0_3")
    assert list(clips(tmp_path / "out")) == ["a_0_10", "a_10_12.5", "c_0_10", "mute_0_3"]
    found = [(row["file"], row["second"], row["reason"]) for row in failures(tmp_path / "out")]
    assert [each[:2] for each in found] == [
        *[("c.mp4", "14"), ("c.mp4", "20"), ("d.mp4", "0"), ("e.mp4", "0"), ("f.mp4", ""), (r"text\n.txt", "")]
    ]
    reasons = [each[2] for each in found]
    assert reasons[0] == f"'{videos / 'c.mp4'}' is damaged."
    assert "made it fail: ZeroDivisionError('nobody knows why')" in reasons[2]
    assert "'loudness' of video 'e_0_10' holds " in reasons[3]
    assert "f.mp4' is not: No such file or directory." in reasons[4]
    assert all(reason.endswith(".") for reason in reasons)
    assert "Left out, as failures.csv lists:\n  c.mp4, second 14: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "processes", "sentence"),
    [
        ({"bad": 5}, 1, r"b\.mp4' is damaged, or go on without what is bad \(--on_bad skip\)"),
        ({"odd": True}, 2, r"b\.mp4' made it fail: .*--on_bad skip"),
        ({"loud": 1e30}, 1, r"'loudness' of video 'b_0_10' holds -?inf"),
    ],
)
def test_a_bad_clip_stops_all_when_asked(
    videos: Path, tmp_path: Path, fault: dict[str, Any], processes: int, sentence: str
) -> None:
    write(videos / "b.mp4", 10, **fault)
    with pytest.raises(Refusal, match=sentence):
        run(videos, tmp_path / "out", on_bad="stop", processes=processes)
    assert not (tmp_path / "out").exists()


def test_a_bad_file_or_name_stops_all_when_asked(videos: Path, tmp_path: Path) -> None:
    (videos / "text.txt").write_text("no video")
    with pytest.raises(Refusal, match=r"text\.txt' is no video, or go on without"):
        run(videos, tmp_path / "out", on_bad="stop")
    write(videos / "text.txt", 10).rename(videos / "a\tb.mp4")
    with pytest.raises(Refusal, match=r"^a\\tb\.mp4: A video's key must be printable .*, or go on without"):
        run(videos, tmp_path / "out", on_bad="stop")


def test_where_nothing_is_of_use_it_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / "videos" / f"{number}.txt", 0).write_text("no video")
    with pytest.raises(
        Refusal, match=r"one clip must come of 3 files, but none does; the first fault: 0\.txt: '.*no v"
    ):
        run(tmp_path / "videos", tmp_path / "out")
    write(tmp_path / "videos" / "a.mp4", 10, bad=0)
    with pytest.raises(Refusal, match=r"all of '.*out' are bad, the first so: 0\.txt:"):
        run(tmp_path / "videos", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_no_file_and_two_files_of_one_stem_are_refused(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="no file fits"):
        run(videos, tmp_path / "out", pattern="*.webm")
    write(videos / "other" / "a.mkv", 10)
    with pytest.raises(Refusal, match=r"'.*a\.mp4' and '.*other/a\.mkv' share 'a'"):
        run(videos, tmp_path / "out")
    (videos / "other" / "a.mkv").write_text("subtitles, which nobody could mistake for the video")
    run(videos, tmp_path / "out")
    assert len(failures(tmp_path / "out")) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"segments": "a.csv", "tables": "b"}, "give either segments or tables"),
        ({"trimmed": True}, "trimmed files need a list"),
        ({"videos": ()}, "'videos' of Config"),
        ({"audio_track": -1}, "'audio_track' of Config"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        Config(**{"videos": ("videos",), "out": Path("out"), **settings})


def test_random_weights_are_said_at_the_beginning_and_at_the_end(
    videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(videos, tmp_path / "out", means=means(warning="RANDOM WEIGHTS!"))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == said[-1] == "RANDOM WEIGHTS!"
    assert said.count("RANDOM WEIGHTS!") == 2


def test_a_device_without_room_is_a_sentence(videos: Path, tmp_path: Path) -> None:
    class Hungry(Loudness):
        def rows(self, decoded: object) -> np.ndarray:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB.\nSee the manual.")

    with pytest.raises(Refusal, match=r"none left \(CUDA out of memory.*\): give fewer --images"):
        run(videos, tmp_path / "out", means=means(load=lambda: (Hungry(), Brightness())))


def test_the_run_holds_the_failures_and_what_was_read_and_made(videos: Path, tmp_path: Path) -> None:
    (videos / "text.txt").write_text("no video")
    tracking = Tracking(root=tmp_path / "runs")
    extract(Config(videos=(videos,), out=tmp_path / "out", processes=1, tracking=tracking), means())
    client = MlflowClient(tracking.store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment
    (last,) = client.search_runs([experiment.experiment_id])
    assert last.info.status == "FINISHED"
    assert last.data.tags["output.shards"] == Shards.open(tmp_path / "out").manifest.digest
    assert last.data.tags["input.videos"]
    assert {name: last.data.metrics[name] for name in ("videos", "left_out.faults", "left_out.clips")} == {
        "videos": 3,
        "left_out.faults": 1,
        "left_out.clips": 0,
    }
    path = client.download_artifacts(last.info.run_id, "failures.csv", str(tmp_path))
    assert Path(path).read_text() == (tmp_path / "out" / "failures.csv").read_text()


def test_the_stage_is_about_videos() -> None:
    assert find("extract").subject == "videos"
