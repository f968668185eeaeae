"""From video files to what is told of them: real files, really decoded, and networks that average them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mlflow import MlflowClient

from finetune import parse
from finetune.parser import Parser, ParserSettings
from finetune.parses.events import LANES
from launch import stage
from launch.__main__ import main
from launch.refusal import Refusal
from launch.settings import load
from launch.tracking import Tracking
from pretrain.model import ModelSettings, Transformer, save_encoder
from shards.labels import CATEGORIES, Span, Tables
from tests.shards.extract.fakes import HEARD, SEEN, means

av = pytest.importorskip("av", reason="PyAV, which reads video files, is not installed")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of a file of 12.3 seconds, one of 1 second without sound, and one that is none."""
    from shards.extract.filming.encode import write_video

    folder = tmp_path_factory.mktemp("videos")
    (folder / "deep").mkdir()
    dice = np.random.default_rng(0)
    for name, seconds, sounds in (("long ü.mp4", 12.3, True), ("deep/-mute.mkv", 1.0, False)):
        frames = (np.full((48, 64, 3), dice.integers(255), np.uint8) for _ in range(round(10 * seconds)))
        sound = dice.uniform(-0.5, 0.5, round(16000 * seconds)).astype(np.float32) if sounds else None
        write_video(folder / name, frames, 10, sound, 16000)
    (folder / "none.mp4").write_text("This is no video.")
    return folder


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The stages that were run, each in this process; `extract` with small networks."""
    from shards.extract import extract, media
    from shards.extract.decoding.opening import open_decoder

    found = list[str]()

    def run(name: str, arguments: list[str]) -> None:
        found.append(name)
        config_class, start = stage.find(name).load()
        config = load(config_class, (), arguments, "a test")
        if isinstance(config, extract.Config):
            extract.extract(config, means(examine=media.examine, decoder=open_decoder("pyav")))
        else:
            start(config)

    monkeypatch.setattr(parse, "run", run)
    monkeypatch.setattr(parse, "describe", lambda settings: [HEARD, SEEN])
    return found


@pytest.fixture
def make(tmp_path: Path, videos: Path, store: Path) -> Callable[..., parse.Config]:
    """Settings that parse the folder, with some of them changed."""

    def config(**values: Any) -> parse.Config:
        given = {"videos": (videos,), "parser": tmp_path / "parser", "out": tmp_path / "out"} | values
        if not given["parser"].exists():
            saved(given["parser"])
        where = Tracking(root=store, experiment=tmp_path.name)
        return parse.Config(tracking=where, extract={"processes": 1}, **given)

    return config


def saved(folder: Path, seed: int = 0, traits: dict[str, Any] | None = None, encoder: str = "") -> Path:
    """A parser of these features with random weights, spread around one half."""
    told = {one.name: {"width": one.width, "variant": one.variant, "encoder": ""} for one in (HEARD, SEEN)}
    told = traits or told
    audio, visual = told
    torch.manual_seed(seed)
    settings = ParserSettings(audio=(audio,), visual=(visual,), width=16, hidden=16)
    parser = Parser(settings, {name: int(of["width"]) for name, of in told.items()})
    with torch.no_grad():
        parser.pooling.probability.weight *= 4
    folder.mkdir()
    parser.save(folder, {"features": told, "videos": {"train": 3}})
    return folder


def told(config: parse.Config, name: str) -> Any:
    return json.loads((config.out / "videos" / name / "parse.json").read_text())


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_folder_of_files_becomes_parses_label_files_timelines_and_pages(
    make: Any, ran: list[str], videos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = make(html=True)
    parse.main(config)
    said = capsys.readouterr().out
    assert ran == ["extract", "predict"]
    index = json.loads((config.out / "videos/videos.json").read_text())["videos"]
    assert set(index) == {"long ü", "-mute"}
    for name, each in index.items():
        folder = config.out / "videos" / each["folder"]
        labels = {f"{name}.{lane}.txt" for lane in LANES} | {f"{name}.eaf"}
        assert {path.name for path in folder.iterdir()} == {*labels, "parse.json", "timeline.png", "page.html"}
        assert "data:video/mp4;base64," in (folder / "page.html").read_text()
    long, mute = told(config, "long ü"), told(config, "-mute")
    assert (long["file"], long["seconds"]) == (str(videos / "long ü.mp4"), pytest.approx(12.3, abs=0.05))
    assert [clip["key"].split("_")[1:2] for clip in long["clips"]] == [["0"], ["10"]]
    assert any(event["onset"] < 10 < event["offset"] for event in long["events"])  # stitched over the border
    assert {event["modality"] for event in mute["events"]} == {"visual"}
    assert mute["absent"] == {"audio": [[0, 1]]}
    assert index["-mute"]["without"] == ["audio"]
    assert "No sound, so nothing is heard, in 1 of 2 files: '-mute'." in said
    assert (config.out / "videos/-mute/page.html").as_uri() in said
    assert "none.mp4" in said
    assert "There is no sound in this file" in (config.out / "videos/-mute/page.html").read_text()
    lines = (config.out / "videos/long ü/long ü.audio.txt").read_text().splitlines()
    heard = [event for event in long["events"] if event["modality"] == "audio"]
    assert {float(line.split("\t")[0]) for line in lines} == {event["onset"] for event in heard}
    client = MlflowClient(config.tracking.store)
    experiment = client.get_experiment_by_name(config.tracking.experiment)
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id])[0]
    assert (run.info.status, run.data.metrics["files"]) == ("FINISHED", 2)
    assert run.data.metrics["events"] == len(long["events"]) + len(mute["events"])


def test_another_parser_reads_the_features_that_are_there(make: Any, ran: list[str], tmp_path: Path) -> None:
    parse.main(make())
    first, before = told(make(), "long ü"), stamps(tmp_path / "out/features")
    with pytest.raises(Refusal, match="An output folder must be new or empty"):
        parse.main(make())
    assert ran == ["extract", "predict"]
    parse.main(make(parser=saved(tmp_path / "other", seed=1), replace=True))
    assert stamps(tmp_path / "out/features") == before
    assert told(make(), "long ü")["events"] != first["events"]
    assert not list((tmp_path / "out/videos").rglob("page.html"))


def test_other_files_take_the_place_of_those_before_only_where_that_is_said(
    make: Any, ran: list[str], videos: Path, tmp_path: Path
) -> None:
    parse.main(make(videos=(videos / "deep/-mute.mkv",)))
    parse.main(make(videos=(videos / "long ü.mp4", videos / "deep"), replace=True))
    assert {path.name for path in (tmp_path / "out/videos").iterdir()} == {"-mute", "long ü", "videos.json"}


def test_with_an_encoder_the_parser_reads_its_embeddings(make: Any, ran: list[str], tmp_path: Path) -> None:
    widths = {HEARD.name: HEARD.width, SEEN.name: SEEN.width}
    settings = ModelSettings(audio=(HEARD.name,), visual=(SEEN.name,), layers=1, width=8, heads=2)
    torch.manual_seed(0)
    weights = Transformer(settings, widths).state_dict()
    save_encoder(tmp_path / "encoder", weights, settings, widths, {"variants": dict.fromkeys(widths, "")})
    digest = json.loads((tmp_path / "encoder/settings.json").read_text())["digest"]
    one = {"width": 8, "variant": f"unit-{digest[:12]}", "encoder": digest}
    parser = saved(tmp_path / "embedded", traits={"pretrained_audio": one, "pretrained_visual": one})
    config = make(parser=parser, encoder=tmp_path / "encoder")
    parse.main(config)
    assert ran == ["extract", "export", "predict"]
    assert told(config, "-mute")["absent"] == {"audio": [[0, 1]]}
    assert told(config, "long ü")["events"]
    with pytest.raises(Refusal, match=r"'pretrained_audio' is none of those that the recipe llp makes \(loudness"):
        parse.main(make(parser=parser, out=tmp_path / "plain"))


def test_the_truth_is_told_where_the_tables_know_the_clip(
    make: Any, ran: list[str], videos: Path, tmp_path: Path
) -> None:
    (tmp_path / "tables").mkdir()
    key, dog = "-mute_0_1", CATEGORIES.index("Dog")
    weak = {"train": {}, "validation": {key: (dog,)}, "test": {}}
    Tables(weak, {}, {key: (Span(dog, 0, 1),)}).write(tmp_path / "tables")
    config = make(tables=tmp_path / "tables", html=True)
    parse.main(config)
    (true,) = told(config, "-mute")["truth"]
    assert (true["category"], true["modality"], true["onset"], true["offset"]) == ("Dog", "visual", 0, 1)
    assert "truth" not in told(config, "long ü")
    assert "hatched bar" in (config.out / "videos/-mute/page.html").read_text()
    assert "hatched bar below" not in (config.out / "videos/long ü/page.html").read_text()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"videos": (Path("nowhere.mp4"),)}, r"must be there, but 'nowhere\.mp4' is not"),
        ({"parser": Path(__file__).parent}, "A parser is a folder with"),
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
    with pytest.raises(OSError, match="No space"):
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
