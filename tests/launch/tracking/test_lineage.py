"""One walks from a parser back to its shards: by digests, in the tags, the description, and the printed tree."""

import contextlib
import json
from pathlib import Path

import pytest
from mlflow import MlflowClient

from launch import stage
from launch.digest import sha256_file
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Thing, Tracking, lineage, run, trace
from launch.tracking.trace import Config

DIGESTS = {name: name[0] * 64 for name in ("shards", "embeddings", "components", "d-encoder", "foreign")}


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(root=tmp_path_factory.mktemp("runs"))


def thing(kind: str, name: str = "", part: str = "") -> Thing:
    return Thing(kind, DIGESTS[name or kind], f"/data/{name or kind}", part)


def shards(name: str) -> Thing:
    facts = {"videos": 1500, "shards": 2}
    return Thing("shards", DIGESTS[name], f"/data/{name}/train", "train", {"vggish": "float16 10 × 128"}, facts)


@pytest.fixture(scope="module")
def parser(tracking: Tracking, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The run that made a parser, and its folder, at the end of a chain whose shards were packed elsewhere."""
    folder = tmp_path_factory.mktemp("parser")
    (folder / "parser.safetensors").write_bytes(b"weights")
    made = Thing("parser", sha256_file(folder / "parser.safetensors"), folder)
    chain: list[tuple[str, list[Thing], Thing]] = [
        ("graph", [shards("shards")], thing("components")),
        ("pretrain", [shards("shards"), thing("components")], thing("encoder", "d-encoder")),
        ("export", [shards("shards"), thing("encoder", "d-encoder")], shards("embeddings")),
        ("finetune", [shards("embeddings"), thing("tables", "foreign")], made),
    ]
    for name, read, makes in chain:
        with run(tracking, name, Settings()) as record:
            record.reads(*read)
            record.makes(makes)
    return record.run_id, folder


def test_what_was_read_and_made_is_in_the_tags_by_digest_and_place(
    tracking: Tracking, parser: tuple[str, Path]
) -> None:
    tags = MlflowClient(tracking.store).get_run(parser[0]).data.tags
    assert tags["input.shards.train"] == DIGESTS["embeddings"]
    assert json.loads(tags["read_from"]) == {"shards.train": "/data/embeddings/train", "tables": "/data/foreign"}
    assert tags["output.parser"] == tags["outputs"] == sha256_file(parser[1] / "parser.safetensors")
    assert json.loads(tags["made_at"]) == {"parser": str(parser[1])}


def test_data_is_listed_as_datasets_with_its_features_and_its_whole_digest(
    tracking: Tracking, parser: tuple[str, Path]
) -> None:
    (told,) = MlflowClient(tracking.store).get_run(parser[0]).inputs.dataset_inputs
    assert (told.dataset.name, told.dataset.digest) == ("embeddings/train", DIGESTS["embeddings"][:12])
    assert [(tag.key, tag.value) for tag in told.tags] == [("mlflow.data.context", "train")]
    assert json.loads(told.dataset.source) == {"uri": "/data/embeddings/train"}
    assert json.loads(told.dataset.profile) == {"videos": 1500, "shards": 2, "digest": DIGESTS["embeddings"]}
    assert json.loads(told.dataset.schema)["mlflow_colspec"][0]["name"] == "vggish"


@pytest.mark.parametrize(
    ("place", "kind", "source"),
    [
        ("https://host/set/train", "http", {"url": "https://host/set/train"}),
        ("s3://bucket/set/train", "s3", {"uri": "s3://bucket/set/train"}),
        ("gs://bucket/set/train", "external", {"url": "gs://bucket/set/train"}),
        ("/set/train", "local", {"uri": "/set/train"}),
    ],
)
def test_a_dataset_says_how_it_is_reached(place: str, kind: str, source: dict[str, str]) -> None:
    told = lineage.dataset(Thing("shards", "ab" * 32, place, "train", {"vggish": ""}))
    assert (told["source_type"], json.loads(told["source"]), told["name"]) == (kind, source, "set/train")


def test_a_description_links_to_the_runs_that_made_what_was_read(tracking: Tracking, parser: tuple[str, Path]) -> None:
    client = MlflowClient(tracking.store)
    found = client.get_run(parser[0])
    (export,) = lineage.makers(client, DIGESTS["embeddings"])
    link = f"[export](#/experiments/{export.info.experiment_id}/runs/{export.info.run_id})"
    lines = found.data.tags[lineage.NOTE].splitlines()
    assert f"- **shards train** `{'e' * 12}`, made by {link}, from `/data/embeddings/train`" in lines
    assert f"- **tables** `{'f' * 12}`, made by no run here, from `/data/foreign`" in lines


def test_a_description_by_hand_stays(tracking: Tracking) -> None:
    client = MlflowClient(tracking.store)
    with run(tracking, "pretrain", Settings()) as record:
        record.reads(shards("shards"))
    assert client.get_run(record.run_id).data.tags[lineage.NOTE].startswith(lineage.HEADING)
    client.set_tag(record.run_id, lineage.NOTE, "the good one")
    with run(tracking, "pretrain", Settings(), resume=record.run_id) as again:
        again.reads(shards("shards"))
    assert client.get_run(again.run_id).data.tags[lineage.NOTE] == "the good one"


def test_of_runs_that_made_the_same_a_finished_one_is_named_first(tracking: Tracking) -> None:
    same = Thing("shards", "9" * 64, "/data/nine")
    with run(tracking, "pack", Settings()) as first:
        first.makes(same)
    with contextlib.suppress(ValueError), run(tracking, "pack", Settings()) as second:
        second.makes(same)
        raise ValueError("broken")
    found = lineage.makers(MlflowClient(tracking.store), same.digest)
    assert [each.info.run_id for each in found] == [first.run_id, second.run_id]
    assert lineage.makers(MlflowClient(tracking.store), "%") == [], "no digest, but what matches every one"


def test_a_rank_that_does_not_lead_tells_nothing() -> None:
    Record(None).reads(shards("shards"))
    Record(None).makes(shards("shards"))


EXPECTED = """\
finetune (run *)
├── made parser {parser}
├── shards train eeeeeeeeeeee ← export (run *)
│   ├── encoder dddddddddddd ← pretrain (run *)
│   │   ├── components cccccccccccc ← graph (run *)
│   │   │   └── shards train ssssssssssss ← no run in this store has made it; it lay at '/data/shards/train'
│   │   └── shards train ssssssssssss ← no run in this store has made it; it lay at '/data/shards/train'
│   └── shards train ssssssssssss ← no run in this store has made it; it lay at '/data/shards/train'
└── tables ffffffffffff ← no run in this store has made it; it lay at '/data/foreign'
"""


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """What was printed, without ids and times."""
    lines = capsys.readouterr().out.splitlines()
    return "".join(f"{line.partition('(run ')[0]}{'(run *)' if '(run ' in line else ''}\n" for line in lines)


def test_the_tree_of_a_run_goes_back_to_what_no_run_has_made(
    tracking: Tracking, parser: tuple[str, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    trace.main(Config(run=parser[0], tracking=tracking))
    digest = sha256_file(parser[1] / "parser.safetensors")[:12]
    assert told(capsys) == EXPECTED.format(parser=digest)


def test_the_tree_of_a_folder_begins_with_what_lies_in_it_wherever_it_was_moved(
    tracking: Tracking, parser: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    moved = tmp_path / "moved/parser"
    moved.mkdir(parents=True)
    (moved / "parser.safetensors").write_bytes((parser[1] / "parser.safetensors").read_bytes())
    (moved / "settings.json").write_text('{"digest": 3}')
    for folder in (moved, moved.parent):
        trace.main(Config(of=folder, tracking=tracking))
        first, *rest = told(capsys).splitlines()
        assert first.startswith("parser ")
        assert first.endswith("← finetune (run *)")
        assert rest == EXPECTED.splitlines()[2:]


def test_an_encoder_is_known_by_the_digest_in_its_settings(
    tracking: Tracking, parser: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "settings.json").write_text(json.dumps({"digest": DIGESTS["d-encoder"]}))
    trace.main(Config(of=tmp_path, tracking=tracking))
    assert told(capsys).startswith("encoder dddddddddddd ← pretrain (run *)\n├── components")


def test_what_was_made_twice_and_what_was_told_above_is_said_so(
    tracking: Tracking, capsys: pytest.CaptureFixture[str]
) -> None:
    twice = Thing("shards", "8" * 64, "/data/eight")
    for _ in range(2):
        with run(tracking, "pack", Settings()) as record:
            record.makes(twice)
    with run(tracking, "evaluate", Settings()) as record:
        record.reads(twice, Thing("shards", twice.digest, "/data/eight", "test"))
    trace.main(Config(run=record.run_id, tracking=tracking))
    _, first, second = capsys.readouterr().out.splitlines()
    assert first.endswith("(and 1 more made the same)")
    assert second.endswith("shards test 888888888888 ← as above")


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"run": "c0ffee"}, r"has none of id 'c0ffee': copy the id from its page"),
        ({"of": Path("/none")}, r"'/none' is none: look for it"),
        ({"of": Path(__file__).parent}, r"no file in '.*' is of any: give the folder that a stage wrote"),
    ],
)
def test_what_the_store_does_not_know_is_refused(tracking: Tracking, asked: dict[str, object], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence):
        trace.main(Config.model_validate({**asked, "tracking": tracking}))


@pytest.mark.parametrize("asked", [{}, {"run": "a", "of": Path("b")}])
def test_a_lineage_begins_in_one_place(asked: dict[str, object]) -> None:
    with pytest.raises(Refusal, match="give either --run or --of"):
        Config.model_validate(asked)


def test_a_root_without_a_store_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"must hold mlflow.db, but '.*' does not: give the --tracking.root"):
        trace.main(Config(run="a", tracking=Tracking(root=tmp_path / "runs")))
    assert not (tmp_path / "runs").exists()


def test_the_stage_is_in_the_house() -> None:
    assert stage.find("lineage").load() == (Config, trace.main)
