"""What rows read is made once, by the stages of the house, and belongs together or is refused."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.reproduction import sources
from finetune.reproduction.rows import ROWS
from finetune.reproduction.sources import PRETRAINING, Sources, about
from launch.lock import held
from launch.refusal import Refusal
from pretrain.model import ModelSettings, Transformer, describe_encoder, save_encoder
from shards.manifest import Manifest
from shards.read import open_sets
from shards.schema import Feature
from tests.finetune.conftest import COUNTS, Corpus

WIDTHS = {"vggish": 6, "resnet152": 10, "r2plus1d_18": 4}
RAW = tuple(Feature(name, width) for name, width in WIDTHS.items())
EMBEDDED = (Feature("pretrained_audio", 8), Feature("pretrained_visual", 8))
SIZE = ModelSettings(layers=1, width=8, heads=2)


def write_encoder(folder: Path, seed: int = 0, mode: str = "multi") -> Path:
    torch.manual_seed(seed)
    model = Transformer(SIZE, WIDTHS)
    save_encoder(folder, model.state_dict(), SIZE, WIDTHS, {"loss": {"mode": mode}, "steps": 3, "manifest": "aa"})
    return folder


class House:
    """Stands in for the stages: notes how each was started, and leaves what it would leave."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.started: list[tuple[str, dict[str, str]]] = []

    def run(self, stage: str, arguments: Sequence[str], holds: Sequence[int] = ()) -> float:
        words = list(arguments)
        given = {word[2:]: words[at + 1] for at, word in enumerate(words) if word.startswith("--")}
        given["file"] = "" if words[0].startswith("--") else Path(words[0]).name
        self.started.append((stage, given))
        assert holds, "a stage that outlives its command keeps the lock"
        out = Path(given["out"])
        if stage == "graph":
            out.mkdir(parents=True)
            (out / "graph.json").touch()
        elif stage == "pretrain":
            write_encoder(out / "encoder", len(self.started), given["loss.mode"])
        else:
            embed(self.corpus, out, describe_encoder(Path(given["encoder"])).digest)
        return 1.0


def embed(corpus: Corpus, out: Path, encoder: str, raw: str = "raw") -> None:
    for split, shards in open_sets(corpus.work / raw).items():
        source = {"stage": "export", "encoder": encoder, "manifest": shards.manifest.digest}
        corpus.write_shards(str(out.relative_to(corpus.work)), {split: corpus.keys(split)}, EMBEDDED, source)


@pytest.fixture
def house(corpus: Corpus, monkeypatch: pytest.MonkeyPatch) -> House:
    corpus.write_shards("raw", {split: corpus.keys(split) for split in COUNTS}, RAW)
    stand_in = House(corpus)
    monkeypatch.setattr(sources, "run", stand_in.run)
    return stand_in


@pytest.fixture
def made(corpus: Corpus, house: House) -> Callable[..., Sources]:
    def of(**values: Any) -> Sources:
        raw, config = str(corpus.work / "raw"), PRETRAINING / "debug.toml"
        given = {"shards": raw, "unlabelled": f"{raw}/train", "out": corpus.work / "out", "embeddings": None}
        given |= {"encoders": None, "pretraining": config, "processes": 2, "tracking": ("--tracking.root", "runs")}
        return Sources(**given | values)

    return of


def test_raw_rows_need_nothing(made: Callable[..., Sources], house: House) -> None:
    row = ROWS["han"]
    assert made().ready(row)
    made().make(row)
    assert (house.started, made().encoder(row), made().about_encoder(row)) == ([], None, {})
    assert made().features(row) == made().shards


def test_embeddings_are_made_by_graph_pretrain_and_export_once(made: Callable[..., Sources], house: House) -> None:
    row, out = ROWS["pretrain_cross"], made().out
    assert not made().ready(row)
    made().make(row)
    (graph, of_graph), (pretrain, of_pretrain), (export, of_export) = house.started
    assert (graph, pretrain, export) == ("graph", "pretrain", "export")
    assert of_graph["shards"] == of_pretrain["shards"] == f"{made().shards}/train", "they learn from the training split"
    assert of_pretrain["components"] == of_graph["out"]
    assert (of_pretrain["loss.mode"], of_pretrain["job.processes"], of_pretrain["file"]) == ("cross", "2", "debug.toml")
    assert of_export["encoder"] == f"{of_pretrain['out']}/encoder"
    assert (of_export["shards"], of_export["out"]) == (made().shards, made().features(row))
    assert all(given["tracking.root"] == "runs" for _, given in house.started)
    assert made().ready(row)
    made().make(row)
    assert len(house.started) == 3
    made().make(ROWS["pretrain_uni"])
    assert [stage for stage, _ in house.started[3:]] == ["pretrain", "export"], "one graph serves all"
    assert (out / "embeddings" / "uni" / "test").is_dir()


def test_an_encoder_that_is_trained_along_is_the_one_behind_the_embeddings(
    made: Callable[..., Sources], house: House
) -> None:
    along, embedded = ROWS["pretrain_multi_end_to_end"], ROWS["pretrain_multi"]
    made().make(along)
    assert [stage for stage, _ in house.started] == ["graph", "pretrain"]
    assert made().features(along) == made().shards
    made().make(embedded)
    assert [stage for stage, _ in house.started[2:]] == ["export"]
    assert made().encoder(along) == made().encoder(embedded)
    assert made().about_encoder(along) == made().about_encoder(embedded)


def test_given_encoders_are_exported_and_none_is_trained(
    made: Callable[..., Sources], house: House, corpus: Corpus
) -> None:
    write_encoder(corpus.work / "encoders" / "multi" / "encoder")
    given = made(encoders=corpus.work / "encoders")
    given.make(ROWS["pretrain_multi"])
    assert [stage for stage, _ in house.started] == ["export"]
    assert given.about_encoder(ROWS["pretrain_multi"])["width"] == 8


def test_an_encoder_is_told_by_size_loss_and_digest(tmp_path: Path) -> None:
    told = about(write_encoder(tmp_path / "encoder", mode="uni"))
    weights = sum(value.numel() for value in Transformer(SIZE, WIDTHS).state_dict().values())
    assert (told["weights"], told["layers"], told["width"], told["mode"]) == (weights, 1, 8, "uni")
    assert told["digest"] == describe_encoder(tmp_path / "encoder").digest


def test_given_embeddings_without_their_encoder_are_told_by_its_digest(
    made: Callable[..., Sources], corpus: Corpus
) -> None:
    embed(corpus, corpus.work / "given" / "multi", "ab" * 32)
    assert made(embeddings=corpus.work / "given").about_encoder(ROWS["pretrain_multi"]) == {"digest": "ab" * 32}


def test_embeddings_of_other_shards_are_refused(made: Callable[..., Sources], corpus: Corpus) -> None:
    corpus.write_shards("other", {split: corpus.keys(split) for split in COUNTS}, RAW, scale=2.0)
    embed(corpus, corpus.work / "given" / "multi", "ab", raw="other")
    sentence = r"set '\w+' of '.*multi' is of manifest [0-9a-f]{12} and that of '.*raw' is [0-9a-f]{12}: export these"
    with pytest.raises(Refusal, match=sentence):
        made(embeddings=corpus.work / "given").check([ROWS["pretrain_multi"]])


def test_embeddings_of_another_encoder_than_the_one_beside_them_are_refused(
    made: Callable[..., Sources], corpus: Corpus
) -> None:
    embed(corpus, corpus.work / "given" / "multi", "ab" * 32)
    write_encoder(corpus.work / "encoders" / "multi" / "encoder")
    with pytest.raises(
        Refusal, match=r"'.*given/multi' are of abababababab and '.*encoder' is [0-9a-f]{12}: export that"
    ):
        made(embeddings=corpus.work / "given", encoders=corpus.work / "encoders").check([ROWS["pretrain_multi"]])


def test_given_embeddings_must_be_there_for_every_row(made: Callable[..., Sources], corpus: Corpus) -> None:
    embed(corpus, corpus.work / "given" / "multi", "ab")
    given = made(embeddings=corpus.work / "given")
    given.check([ROWS["pretrain_multi"], ROWS["han"]])
    with pytest.raises(Refusal, match=r"'.*given/uni' lacks a set of train, validation, test for row 'pretrain_uni'"):
        given.check([ROWS["pretrain_uni"]])
    with pytest.raises(Refusal, match=r"'pretrain_multi_end_to_end' has --embeddings '.*' only: give --encoders"):
        given.check([ROWS["pretrain_multi_end_to_end"]])


def test_shards_without_one_of_the_sets_are_refused(made: Callable[..., Sources], corpus: Corpus) -> None:
    corpus.write_shards("less", {split: corpus.keys(split) for split in ("train", "test")}, RAW)
    with pytest.raises(Refusal, match=r"'.*less' has no 'validation': give the folder that pack or export wrote"):
        made(shards=str(corpus.work / "less")).check([])


@pytest.mark.parametrize("changed", ["--unlabelled", "--pretraining"])
def test_encoders_of_another_pre_training_in_the_same_folder_are_refused(
    made: Callable[..., Sources], corpus: Corpus, house: House, changed: str
) -> None:
    made().make(ROWS["pretrain_multi"])
    started = len(house.started)
    other: dict[str, Any] = {"--unlabelled": {"unlabelled": f"{made().shards}/test"}}
    other["--pretraining"] = {"pretraining": PRETRAINING / "base.toml"}
    with pytest.raises(Refusal, match=rf"were made with another {changed}: give another --out"):
        made(**other[changed]).make(ROWS["pretrain_multi"])
    assert len(house.started) == started


def test_planted_features_are_known_by_their_generator() -> None:
    planted = Manifest({}, (), {"corpus": {"version": 3}})
    assert sources.planted({"test": planted}) == 3
    assert sources.planted({"test": Manifest({}, (), {"stage": "pack"})}) is None


def test_what_encoders_cannot_be_made_of_is_refused_at_the_start(
    made: Callable[..., Sources], corpus: Corpus, house: House
) -> None:
    rows = [ROWS["han"], ROWS["pretrain_multi"]]
    made().check(rows)
    for given, sentence in (
        ({"unlabelled": str(corpus.work / "none")}, "'.*none' is no folder"),
        ({"unlabelled": made().shards}, "one set, but '.*raw' holds test, train, validation: give one of them"),
        ({"pretraining": corpus.work / "none.toml"}, r"'.*none\.toml' is none: give another --pretraining"),
    ):
        with pytest.raises(Refusal, match=sentence):
            made(**given).check(rows)
        made(**given).check([ROWS["han"]])
        made(**given).check(rows, making=False)
    (made().out).mkdir()
    (made().out / sources.PLAN).write_text('{"--unlabelled": "00"}')
    with pytest.raises(Refusal, match="were made with another --unlabelled and --pretraining"):
        made().check(rows)
    assert house.started == []


def test_shards_of_one_set_hold_test_videos_too_so_encoders_need_another(
    made: Callable[..., Sources], corpus: Corpus, house: House
) -> None:
    corpus.write_shards("whole", {"": [key for split in COUNTS for key in corpus.keys(split)]}, RAW)
    whole = str(corpus.work / "whole")
    given = {"shards": whole, "unlabelled": f"{whole}/train"}
    with pytest.raises(Refusal, match=r"must not learn from test videos, but '.*whole' is one set of all splits"):
        made(**given).check([ROWS["pretrain_multi"]])
    made(**given | {"unlabelled": f"{made().shards}/train"}).check([ROWS["pretrain_multi"]])


def test_given_encoders_must_be_there_for_every_row(made: Callable[..., Sources], corpus: Corpus, house: House) -> None:
    write_encoder(corpus.work / "encoders" / "multi" / "encoder")
    given = made(encoders=corpus.work / "encoders")
    given.check([ROWS["pretrain_multi"], ROWS["pretrain_multi_end_to_end"]])
    with pytest.raises(Refusal, match=r"'.*encoders/uni/encoder' holds none for row 'pretrain_uni': pre-train it"):
        given.check([ROWS["pretrain_uni"]])


def test_an_encoder_that_another_process_makes_is_left_to_it_by_who_is_not_patient(
    made: Callable[..., Sources], house: House
) -> None:
    with held(made().out / ".sources.lock", "it"):
        assert not made().make(ROWS["pretrain_multi"], patient=False)
        assert made().make(ROWS["han"], patient=False)
    assert house.started == []
    assert made().make(ROWS["pretrain_multi"], patient=False)
    with held(made().out / ".sources.lock", "it"):
        assert made().make(ROWS["pretrain_multi"], patient=False), "what is there needs no lock"


def test_an_encoder_that_another_process_makes_is_waited_for_by_who_is_patient(
    made: Callable[..., Sources], house: House, capsys: pytest.CaptureFixture[str]
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with held(made().out / ".sources.lock", "it"):
            outcome, said = pool.submit(made().make, ROWS["pretrain_multi"]), ""
            while "waiting for it" not in said and not outcome.done():
                said += capsys.readouterr().out
        assert outcome.result(60)
    assert [stage for stage, _ in house.started] == ["graph", "pretrain", "export"]
