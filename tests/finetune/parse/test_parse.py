"""From video files to what is told of them: real files, really decoded, and networks that average them."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from finetune import parse
from finetune.parses.events import LANES
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer, save_encoder
from shards.labels import CATEGORIES, Span, Tables
from tests.finetune.parse.conftest import made, saved, stages_here
from tests.shards.extract.fakes import HEARD, SEEN


@pytest.fixture(scope="module")
def parsed(videos: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> parse.Config:
    """The folder parsed once, with pages."""
    config = made(tmp_path_factory.mktemp("parsed"), store, videos=(videos,), html=True)
    with stages_here() as ran:
        parse.main(config)
    assert ran == ["extract", "predict"]
    return config


def told(config: parse.Config, name: str) -> Any:
    return json.loads((config.out / "videos" / name / "parse.json").read_text())


def stamps(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_a_folder_of_files_becomes_parses_label_files_timelines_and_pages(parsed: parse.Config, videos: Path) -> None:
    config = parsed
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


def test_another_parser_reads_the_features_that_are_there(
    parsed: parse.Config,
    make: Any,
    ran: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copytree(parsed.out, tmp_path / "out")
    viewers = ("videos/long ü/long ü.pfsx", "videos/.DS_Store", ".DS_Store")
    for name in viewers:  # what ELAN and windows of folders leave there is in nobody's way
        (tmp_path / "out" / name).touch()
    lost = tmp_path / f"out/.videos.{2**22 + 1}.part"  # of a process that no system has
    lost.mkdir()
    first, before = told(make(), "long ü"), stamps(tmp_path / "out/features")
    with pytest.raises(Refusal, match="An output folder must be new or empty"):
        parse.main(make())
    assert ran == []
    monkeypatch.setattr(parse, "FEW", 1)
    parse.main(make(parser=saved(tmp_path / "other", seed=1), replace=True))
    assert stamps(tmp_path / "out/features") == before
    assert told(make(), "long ü")["events"] != first["events"]
    assert not list((tmp_path / "out/videos").rglob("page.html"))
    assert not lost.exists()
    said = capsys.readouterr().out
    assert "No sound, so nothing is heard, in 1 of 2 files: '-mute'." in said
    assert str(tmp_path / "out/videos/-mute/parse.json") in said
    assert "… and 1 more" in said
    assert f"Left out: 1, as '{tmp_path / 'out/features/failures.csv'}' lists." in said


def test_a_folder_deep_inside_may_have_a_name_that_is_no_text(
    make: Any, ran: list[str], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = tmp_path / "films/\udcff"
    odd.mkdir(parents=True)
    shutil.copy(videos / "deep/-mute.mkv", odd / "x.mkv")
    (tmp_path / "tables").mkdir()
    Tables({"train": {}, "validation": {}, "test": {}}, {}, {}).write(tmp_path / "tables")
    parse.main(make(videos=(tmp_path / "films",), html=True, page={"seconds": 0}, tables=tmp_path / "tables"))
    assert "know none of these clips" in capsys.readouterr().out
    assert told(make(), "x")["file"] == str(odd / "x.mkv")
    assert "films/%FF/x.mkv" in (tmp_path / "out/videos/x/page.html").read_text()
    with pytest.raises(Refusal, match="must be text"):
        parse.main(make(videos=(odd,), replace=True))


def test_other_files_take_the_place_of_those_before_only_where_that_is_said(
    make: Any, ran: list[str], videos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    parse.main(make(videos=(videos / "deep/-mute.mkv",)))
    parse.main(make(videos=(videos / "long ü.mp4", videos / "deep"), replace=True))
    assert {path.name for path in (tmp_path / "out/videos").iterdir()} == {"-mute", "long ü", "videos.json"}
    assert "Extracting again" in capsys.readouterr().out


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
