"""Prediction from files to files: parses, label files, timelines and an index, whole or not at all."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from matplotlib.figure import Figure
from safetensors.torch import save_file

from finetune import predict
from finetune.parser import Parser
from finetune.parses.events import LANES
from finetune.scoring.decision import Protocol
from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.labels import Tables, feature_id
from shards.read import ReadSettings, Shards
from shards.schema import PRESENT, Feature, Video
from shards.write import Writer

STRANGE = ("-minus_1_11", "per%cent.dot_0.5_10.5", "größe 語_0_10", "short_3_7")


def config(corpus: Any, out: str = "parses", **values: Any) -> predict.Config:
    if not (corpus.work / "untrained").exists():
        corpus.untrained()
    given = {"parser": corpus.work / "untrained", "shards": corpus.shards, "sets": ("test",), "pictures": 1} | values
    return predict.Config(out=corpus.work / out, tracking=corpus.tracking, **given)


def index(config: predict.Config) -> Any:
    return json.loads((config.out / "parses.json").read_text())


def parses(config: predict.Config) -> dict[str, Any]:
    files = index(config)["parses"]
    found = {key: json.loads((config.out / file).read_text()) for key, file in files.items()}
    assert [parse["key"] for parse in found.values()] == list(found)
    return found


def files(config: predict.Config, folder: str) -> list[str]:
    return sorted(path.name for path in (config.out / folder).iterdir())


def span(event: dict[str, Any]) -> tuple[Any, ...]:
    return event["category"], event["modality"], event["onset"], event["offset"]


def test_every_video_has_a_parse_label_files_and_a_place_in_the_index(corpus: Any) -> None:
    made = config(corpus, tables=corpus.tables, batch=4)
    predict.main(made)
    keys, found = Shards.open(corpus.shards / "test").keys, parses(made)
    assert tuple(found) == keys
    assert any(parse["events"] for parse in found.values())
    assert files(made, "parses") == sorted(f"{key}.json" for key in keys)
    assert files(made, "audacity") == sorted(f"{key}.{lane}.txt" for key in keys for lane in LANES)
    assert files(made, "elan") == sorted(f"{key}.eaf" for key in keys)
    assert files(made, "timelines") == sorted(f"{key}.png" for key in keys[:1])
    for key, parse in found.items():
        annotations = ElementTree.parse(made.out / "elan" / f"{key}.eaf").iter("ALIGNABLE_ANNOTATION")
        assert len(list(annotations)) == len(parse["events"])
    told = index(made)
    assert told["videos"] == 11
    assert told["protocol"] == Protocol().model_dump(mode="json")
    assert told["parser"]["weights"] == sha256_file(corpus.work / "untrained/parser.safetensors")
    assert told["inputs"][0]["manifest"] == Shards.open(corpus.shards / "test").manifest.digest
    (run,) = corpus.runs()[1]
    assert run.info.status == "FINISHED"
    assert run.data.metrics["events"] == sum(len(parse["events"]) for parse in found.values())


def test_the_parses_do_not_depend_on_the_batch_and_follow_the_protocol(corpus: Any) -> None:
    one, many = config(corpus, "one", batch=1), config(corpus, "many", batch=50)
    strict = config(corpus, "strict", protocol=Protocol(threshold=1.0))
    for each in (one, many, strict):
        predict.main(each)
    found = [parses(each) for each in (one, many, strict)]
    assert [list(each) for each in found] == [list(found[0])] * 3
    spans = [[(key, *span(event)) for key, parse in each.items() for event in parse["events"]] for each in found]
    assert spans[0] == spans[1] != []
    assert spans[2] == []


def test_named_videos_alone_are_parsed_from_whichever_set_holds_them(corpus: Any) -> None:
    wanted = (corpus.keys("validation")[2], corpus.keys("train")[5])
    made = config(corpus, sets=(), videos=wanted, pictures=0, labels=("elan",))
    predict.main(made)
    assert set(parses(made)) == set(wanted)
    assert {path.name for path in made.out.iterdir()} == {"parses", "elan", "parses.json"}
    assert [told["set"] for told in index(made)["inputs"]] == ["train", "validation"]
    with pytest.raises(Refusal, match="'nobody' is not in"):
        predict.main(config(corpus, "other", videos=("nobody",)))
    assert not (corpus.work / "other").exists()


def test_feature_files_give_the_parses_of_their_shards(corpus: Any) -> None:
    plain = (Feature("sound", 6), *corpus.features[1:])
    shards = corpus.write_shards("plain", {"test": corpus.keys("test")}, plain)
    traits = {one.name: {"width": one.width, "variant": "", "encoder": ""} for one in plain}
    parser = corpus.untrained(features=traits)
    opened = Shards.open(shards / "test")
    for place, key in enumerate(opened.keys):
        for name, array in opened.read(place).features.items():
            (corpus.work / "feats" / name).mkdir(parents=True, exist_ok=True)
            np.save(corpus.work / "feats" / name / f"{feature_id(key)}.npy", array)
    stored = config(corpus, "stored", parser=parser, shards=shards)
    loose = config(
        corpus, "loose", parser=parser, shards=None, sets=(), features=corpus.work / "feats", tables=corpus.tables
    )
    predict.main(stored)
    predict.main(loose)
    ours, theirs = parses(loose), parses(stored)
    assert {key: parse["events"] for key, parse in ours.items()} == {k: parse["events"] for k, parse in theirs.items()}


def test_any_key_has_files_and_a_short_video_ends_at_its_own_length(corpus: Any) -> None:
    long = f"{'x' * 150}_0_10"
    shards = corpus.write_shards("strange", {"test": [*STRANGE, long]})
    made = config(corpus, shards=shards, protocol=Protocol(threshold=0.2))
    predict.main(made)
    found = parses(made)
    assert set(found) == {*STRANGE, long}
    assert len(files(made, "elan")) == len(files(made, "parses")) == 5
    assert found["short_3_7"]["seconds"] == 4
    assert max(event["offset"] for event in found["short_3_7"]["events"]) == 4
    assert max(event["offset"] for event in found[STRANGE[0]]["events"]) == 10


def test_truth_is_drawn_beside_videos_that_were_annotated(corpus: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(predict.ParseFolder, "add", lambda self, parse, truth: drawn.append((parse.key, truth)))
    keys = (corpus.keys("test")[0], corpus.keys("train")[0])
    predict.main(config(corpus, sets=(), videos=keys, tables=corpus.tables))
    truth = dict(drawn)
    assert truth[keys[1]] is None
    audio = Tables.load(corpus.tables).audio[keys[0]]
    assert len([event for event in truth[keys[0]] if event.modality == "audio"]) == len(audio)


def test_features_that_nothing_was_learned_for_are_said_loudly(
    corpus: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blind = (Feature("sound", 6, "random weights"), *corpus.features[1:])
    traits = {one.name: {"width": one.width, "variant": one.variant, "encoder": ""} for one in blind}
    shards = corpus.write_shards("blind", {"test": corpus.keys("test")[:2]}, blind)
    drawn = list[str]()
    monkeypatch.setattr("finetune.parses.folder.timeline_figure", lambda *_, warning: drawn.append(warning) or Figure())
    made = config(corpus, parser=corpus.untrained("blind-parser", features=traits), shards=shards)
    predict.main(made)
    told = [*parses(made).values(), index(made)]
    assert all(each["warnings"][0].startswith("RANDOM WEIGHTS: sound come from") for each in told)
    assert drawn == ["RANDOM WEIGHTS"]
    assert capsys.readouterr().out.splitlines()[-1].startswith("RANDOM WEIGHTS: sound")


def test_bad_videos_are_refused_or_skipped_and_counted(corpus: Any) -> None:
    (bad,) = corpus.damage("test", corpus.keys("test")[4])
    with pytest.raises(Refusal, match=bad):
        predict.main(config(corpus))
    assert not (corpus.work / "parses").exists()
    made = config(corpus, reading=ReadSettings(on_bad="skip"))
    predict.main(made)
    assert bad not in parses(made)
    assert len(parses(made)) == 10
    assert bad in index(made)["skipped"][0]
    (line,) = corpus.skipped()
    assert bad in line


def test_features_of_another_extraction_or_encoder_are_refused(corpus: Any) -> None:
    test = {"test": corpus.keys("test")}
    wide = corpus.write_shards("wide", test, (Feature("sound", 9, "raw"), *corpus.features[1:]))
    with pytest.raises(Refusal, match=r"'sound' in .* has the width 9 where its training had 6"):
        predict.main(config(corpus, shards=wide))
    foreign = corpus.write_shards("foreign", test, source={"encoder": "bbbb"})
    with pytest.raises(Refusal, match=r"'sound' in .* has the encoder 'bbbb' where its training had ''"):
        predict.main(config(corpus, shards=foreign))
    few = corpus.write_shards("few", test, corpus.features[:2])
    with pytest.raises(Refusal, match="'motion' is not in"):
        predict.main(config(corpus, shards=few))
    assert not (corpus.work / "parses").exists()


def test_a_folder_without_shards_or_features_is_refused(corpus: Any) -> None:
    (corpus.work / "empty").mkdir()
    with pytest.raises(Refusal, match=r"must hold manifest\.json"):
        predict.main(config(corpus, shards=corpus.work / "empty"))
    with pytest.raises(Refusal, match=r"has no folder of \.npy files"):
        predict.main(config(corpus, shards=None, sets=(), features=corpus.work / "empty"))


def test_a_parser_of_another_version_or_without_its_weights_is_refused(corpus: Any) -> None:
    made = config(corpus)
    settings = made.parser / "settings.json"
    content = settings.read_text()
    settings.write_text(content.replace('"version": ', '"version": 9'))
    with pytest.raises(Refusal, match="files must have version"):
        predict.main(made)
    settings.write_text(content)
    weights = Parser.from_pretrained(made.parser).state_dict()
    save_file({name: tensor + 1 for name, tensor in weights.items()}, made.parser / "parser.safetensors")
    with pytest.raises(Refusal, match=r"not those that settings\.json was written with"):
        predict.main(made)


def test_results_take_the_place_of_results_only_where_that_is_said(corpus: Any) -> None:
    predict.main(config(corpus))
    with pytest.raises(Refusal, match="holds files"):
        predict.main(config(corpus, videos=corpus.keys("test")[:1]))
    assert len(parses(config(corpus))) == 11
    predict.main(config(corpus, videos=corpus.keys("test")[:1], replace=True))
    assert list(parses(config(corpus))) == corpus.keys("test")[:1]
    (corpus.work / "parses/notes.txt").write_text("mine")
    with pytest.raises(Refusal, match=r"holds 'notes\.txt', which no stage wrote"):
        predict.main(config(corpus, replace=True))


def write_present(corpus: Any, width: int = 2) -> Path:
    """One set of two videos, the first of which has no sound, with the feature that says so."""
    features = (*corpus.features, Feature(PRESENT, width))
    with Writer(corpus.work / "extracted", features, {"stage": "a test"}, 5) as writer:
        for key in ("mute_0_10", "whole_0_10"):
            arrays = {one.name: np.full((10, one.width), 0.5, np.float32) for one in corpus.features}
            present = np.ones((10, width), np.float32)
            present[:, 0] = key != "mute_0_10"
            writer.add(Video(key, arrays | {PRESENT: present}))
    return corpus.work / "extracted"


def test_shards_that_say_what_is_absent_are_taken_at_their_word(corpus: Any) -> None:
    protocol = Protocol(gate="none", threshold=0)
    made = config(corpus, shards=write_present(corpus), sets=(), protocol=protocol, curves=True)
    predict.main(made)
    found = parses(made)
    assert found["mute_0_10"]["absent"] == {"audio": list(range(10))}
    assert {event["modality"] for event in found["mute_0_10"]["events"]} == {"visual"}
    assert "absent" not in found["whole_0_10"]
    assert {event["modality"] for event in found["whole_0_10"]["events"]} == set(LANES)
    assert found["mute_0_10"]["curves"]["audio"]["Dog"] == [None] * 10
    assert len(found["whole_0_10"]["curves"]["visual"]) == 25


def test_a_feature_present_that_is_not_one_is_refused(corpus: Any) -> None:
    with pytest.raises(Refusal, match="must have a number for each of audio, visual, but has 3"):
        predict.main(config(corpus, shards=write_present(corpus, 3), sets=()))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"shards": None, "sets": ()}, "give either --shards or --features"),
        ({"features": Path("feats")}, "give either --shards or --features"),
        ({"folders": ("vggish",)}, "folders belong to --features"),
        ({"shards": None, "features": Path("feats")}, "sets belong to --shards"),
    ],
)
def test_videos_come_from_one_place(corpus: Any, values: Any, words: str) -> None:
    with pytest.raises(Refusal, match=words):
        config(corpus, **values)
