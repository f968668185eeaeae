"""What `parse` refuses, and what it leaves behind then; what it asks of its stages."""

from pathlib import Path
from typing import Any

import pytest

from finetune import parse
from launch import stage
from launch.__main__ import main
from launch.refusal import Refusal
from launch.settings import load
from tests.finetune.parse.conftest import saved
from tests.shards.extract.fakes import HEARD, SEEN


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"videos": (Path("nowhere.mp4"),)}, r"must be there, but 'nowhere\.mp4' is not"),
        ({"parser": Path(__file__).parent}, "A parser is a folder with"),
        ({"tables": Path("nowhere")}, "nowhere"),
        ({"encoder": Path(__file__).parent}, "An encoder's folder must hold"),
    ],
)
def test_what_is_not_there_is_refused_before_anything_is_made(
    make: Any, ran: list[str], tmp_path: Path, values: dict[str, Any], said: str
) -> None:
    with pytest.raises(Refusal, match=said):
        parse.main(make(**values))
    assert ran == []
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("trait", "said"),
    [
        ({"width": 7}, r"'loudness', which the recipe llp makes, has the width 2 where its training had 7"),
        ({"variant": "raw"}, r"has the variant '' where its training had 'raw'"),
        ({"encoder": "ab12"}, r"has the encoder '' where its training had 'ab12'"),
    ],
)
def test_a_parser_of_other_features_is_refused_before_anything_is_extracted(
    make: Any, ran: list[str], tmp_path: Path, trait: dict[str, Any], said: str
) -> None:
    traits = {one.name: {"width": one.width, "variant": "", "encoder": ""} for one in (HEARD, SEEN)}
    traits[HEARD.name] |= trait
    with pytest.raises(Refusal, match=said):
        parse.main(make(parser=saved(tmp_path / "other", traits=traits)))
    assert ran == []


def test_a_folder_that_holds_other_things_is_left_as_it_is(make: Any, ran: list[str], tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/notes.txt").write_text("mine")
    with pytest.raises(Refusal, match=r"holds 'notes\.txt', which it did not"):
        parse.main(make(replace=True))
    (tmp_path / "file").write_text("mine")
    with pytest.raises(Refusal, match="An output folder must not be a file"):
        parse.main(make(out=tmp_path / "file"))
    (tmp_path / "mine").mkdir()
    with pytest.raises(Refusal, match="must not lie among the videos"):
        parse.main(make(videos=(tmp_path / "mine",), out=tmp_path / "mine/parsed"))
    assert ran == []


def test_what_extract_refuses_ends_it_and_nothing_half_done_is_left(
    make: Any, ran: list[str], videos: Path, tmp_path: Path
) -> None:
    empty, twice = tmp_path / "empty", tmp_path / "twice"
    empty.mkdir()
    twice.mkdir()
    (twice / "-mute.mp4").write_bytes((videos / "deep/-mute.mkv").read_bytes())
    for places, said in (
        ((empty,), "no file fits"),
        ((videos / "none.mp4",), "At least one clip must come of .* but none does"),
        ((videos, twice), "share '-mute'"),
    ):
        with pytest.raises(Refusal, match=said):
            parse.main(make(videos=places))
    assert set(ran) == {"extract"}
    assert not (tmp_path / "out/videos").exists()


def test_a_disk_that_is_full_leaves_no_half_of_the_result(
    make: Any, ran: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, whole: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(parse.Report, "add", full)
    with pytest.raises(Refusal, match=r"Parses must find room, but the disk of '.*out' is full: free some, and"):
        parse.main(make())
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["features", "parses"]


def test_stages_get_what_concerns_them(make: Any, videos: Path) -> None:
    extract = {"recipe": "clip_clap", "weights": {"missing": "random"}, "pattern": "-*.mp4", "processes": 2}
    config = make(html=True, replace=True).model_copy(update={"extract": parse.ExtractSettings(**extract)})
    config = config.model_copy(
        update={"protocol": parse.Protocol(gate="none", threshold=0.3), "videos": (Path("-x.mp4"),)}
    )
    (_, extracting), (_, predicting) = parse.chain(config, "")
    assert extracting[:2] == ["--videos", str(Path("-x.mp4").absolute())]
    for word in ("--recipe=clip_clap", "--weights.missing=random", "--pattern=-*.mp4", "--processes=2"):
        assert word in extracting
    assert extracting[extracting.index("--replace") + 1] == "True"
    assert {"--protocol.gate=none", "--protocol.threshold=0.3"} <= set(predicting)
    for name, words in (("extract", extracting), ("predict", predicting)):
        read = load(stage.find(name).load()[0], (), words, "a test")
        assert read.tracking == config.tracking


def test_the_exit_code_of_a_stage_that_fails_is_that_of_parse(
    make: Any, videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    config = make()
    monkeypatch.setattr(parse, "describe", lambda settings: [HEARD, SEEN])
    monkeypatch.setattr(parse, "chain", lambda config, scale: [("predict", ["--parser", "x", "--out", "y"])])
    words = ["--parser", str(config.parser), "--out", str(config.out), "--tracking.root", str(config.tracking.root)]
    with pytest.raises(SystemExit) as leaving:
        main(["parse", str(videos), *words])
    assert leaving.value.code == 2
    assert "give either --shards or --features" in capfd.readouterr().err
