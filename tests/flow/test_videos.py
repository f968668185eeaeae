"""From video files to a page as `make demo-video` does it: every stage its own process, the networks those of `llp`."""

import csv
import json
from pathlib import Path

import pytest

from launch import demo_video
from launch.tracking import Tracking, trace
from shards.labels import CATEGORIES, Tables
from shards.read import open_sets
from shards.schema import PRESENT

pytestmark = pytest.mark.timeout(900)
TEST = "film-test-0000"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a demo that ran from the first film to the page, and what it said itself."""
    folder = tmp_path_factory.mktemp("demo")
    few = {"train": 3, "validation": 1, "test": 1, "epochs": 2, "images_per_second": 1}
    with pytest.MonkeyPatch.context() as patch:
        lines = list[str]()
        patch.setattr(demo_video, "say", lines.append)
        demo_video.main(demo_video.Config(out=folder / "out", **few, tracking=Tracking(root=folder / "runs")))
    return folder / "out", "\n".join(lines)


def test_it_says_loudly_that_the_networks_are_random_and_where_the_page_is(said: tuple[Path, str]) -> None:
    out, words = said
    assert words.startswith("NO WEIGHTS: the networks of this demo are RANDOM.")
    assert words.count("RANDOM") == 2
    assert f"{out.resolve().as_uri()}/parsed/videos/{TEST}/page.html" in words


def test_the_shards_hold_the_features_of_llp_by_random_networks_and_what_is_present(said: tuple[Path, str]) -> None:
    out, _ = said
    shards = open_sets(out / "shards")[""]
    assert len(shards) == 4
    widths = {name: feature.width for name, feature in shards.manifest.features.items()}
    assert widths == {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512, PRESENT: 2}
    for name in ("vggish", "resnet152", "r2plus1d_18"):
        assert "random weights" in shards.manifest.features[name].variant
    assert shards.batch(range(4), (PRESENT,)).features[PRESENT].all()
    with (out / "shards/failures.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [["file", "second", "reason"]]


def test_the_page_holds_the_clip_its_parse_and_the_truth(said: tuple[Path, str]) -> None:
    out, _ = said
    folder = out / "parsed/videos" / TEST
    page = (folder / "page.html").read_text()
    assert "RANDOM WEIGHTS" in page
    assert "data:video/mp4;base64," in page
    parse = json.loads((folder / "parse.json").read_text())
    assert parse["seconds"] == 10
    tables = Tables.load(out / "films/tables")
    truth = {(CATEGORIES[span.category], span.onset, span.offset) for span in tables.audio.get(f"{TEST}_0_10", ())}
    heard = [event for event in parse["truth"] if event["modality"] == "audio"]
    assert {(event["category"], event["onset"], event["offset"]) for event in heard} == truth
    assert (folder / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert {path.suffix for path in folder.iterdir()} == {".html", ".json", ".png", ".eaf", ".txt"}


def test_lineage_goes_from_the_parsed_files_back_to_the_films(
    said: tuple[Path, str], capsys: pytest.CaptureFixture[str]
) -> None:
    out, _ = said
    trace.main(trace.Config(of=str(out / "parsed/videos"), tracking=Tracking(root=out.parent / "runs")))
    shown = capsys.readouterr().out
    for stage in ("parse", "predict", "extract", "finetune", "film"):
        assert stage in shown, shown
