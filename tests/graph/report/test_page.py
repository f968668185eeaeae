import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from graph.positives.thresholds import ThresholdSettings
from graph.report.findings import Report, report
from graph.report.page import page, write

NASTY = '<img src=x onerror=alert(1)>&"quoted"\'{{title}}</script>'
KEYS = [f"{NASTY}{number}_0_10" for number in range(40)]
VOID = {"meta", "img", "br", "link", "input", "hr"}


class Reader(HTMLParser):
    """The elements, attributes and texts of a page; refuses tags that do not close in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.texts: list[str] = []
        self.scripts: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        (self.scripts if self.open and self.open[-1] == "script" else self.texts).append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def found(world: Callable) -> Report:
    """A report of a world whose keys and labels are hostile, with hubs and warnings."""
    outcome = world(threshold=0.8)
    sides = [replace(side, hubs=np.arange(400) < 100, exact=False) for side in outcome.sides]
    labels = {key: frozenset({f"<b>{number % 3}</b>"}) for number, key in enumerate(KEYS)}
    return report(replace(outcome, sides=tuple(sides)), KEYS, "any", labels, checked=["Audit: a < b."], steps=5)


def test_keys_labels_and_titles_are_text_whatever_they_hold(found: Report) -> None:
    reader = read(page(found, f"Graph of {NASTY}"))
    assert "img" not in reader.tags
    assert reader.tags.count("b") == reader.attributes.count(("class", "tile"))  # the only bold things are the tiles'
    assert not any(name.startswith("on") for name, _ in reader.attributes)
    told = "".join(reader.texts)
    assert f"Graph of {NASTY}" in told
    assert f"{NASTY}0_0_10@3" in told  # a hub
    assert "<b>0</b>" in told  # a label
    assert "Audit: a < b." in told


def test_nothing_is_fetched_and_nothing_is_left_to_fill_in(found: Report) -> None:
    html = page(found, "A graph")
    reader = read(html)
    assert not [value for name, value in reader.attributes if name in ("src", "href", "action", "data")]
    assert not re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", html)
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'") in reader.attributes
    assert set(re.findall(r"{{\w+}}", html)) == {"{{title}}"}  # the keys', which is not read again


def test_the_data_are_the_reports_and_cannot_end_their_script(found: Report) -> None:
    reader = read(page(found, "A graph"))
    assert len(reader.scripts) == 2
    data = json.loads(reader.scripts[0])
    assert data["grid"]["linked_share"] == found.facts["grid"]["linked_share"]
    i, j = data["grid"]["chosen"]
    assert data["grid"]["audio"][i] == pytest.approx(found.facts["audio"]["threshold"])
    assert data["grid"]["visual"][j] == pytest.approx(found.facts["visual"]["threshold"])
    assert sum(data["charts"]["sizes_joint"]["literal"]) == pytest.approx(1)
    kinds = data["charts"]["audio_similar"]["kinds"]
    assert all(0.9 < sum(kind["shares"]) <= 1.001 for kind in kinds)


@pytest.mark.parametrize(
    ("limits", "told"), [(None, ("2%", "5%")), (ThresholdSettings(pi0=0.035, largest=0.2), ("3.5%", "20%"))]
)
def test_the_limits_are_those_of_the_choice(
    world: Callable, limits: ThresholdSettings | None, told: tuple[str, str]
) -> None:
    html = page(report(world(threshold=0.8), KEYS, "any", steps=4, limits=limits), "A graph")
    reader = read(html)
    limit = limits or ThresholdSettings()
    assert json.loads(reader.scripts[0])["limits"] == {"pi0": limit.pi0, "largest": limit.largest}
    keys = [text for text in reader.texts if text.startswith("limit: ")]
    assert keys == [f"limit: {told[1]}", f"limit: {told[0]}"] * 2
    assert f"Good is {told[0]} or less." in html


def test_every_chart_that_the_page_asks_for_has_data(found: Report) -> None:
    reader = read(page(found, "A graph"))
    data = json.loads(reader.scripts[0])["charts"]
    asked = [value for name, value in reader.attributes if name == "data-source"]
    assert sorted(asked) == sorted(data)
    drawn = {value for name, value in reader.attributes if name == "data-chart"}
    assert all(re.search(rf"^  {chart}\(home", reader.scripts[1], re.MULTILINE) for chart in drawn)


def test_the_page_tells_what_the_words_mean_the_warnings_and_the_findings(found: Report) -> None:
    told = "".join(read(page(found, "A graph")).texts)
    for word in ("Snippet", "Edge", "Component", "Positive", "π₀"):
        assert word in told
    assert found.warnings
    for warning in found.warnings:
        assert warning[1:] in told
    for line in found.lines:
        assert line in told
    assert "and 40 more, in report.json" in told  # a hundred hubs, sixty of them named
    assert f"{found.chosen['linked_share']:.1%}" in told


def test_both_ways_of_two_are_shown(world: Callable) -> None:
    told = "".join(read(page(report(world("any", "per_modality"), KEYS, "any", steps=4), "A graph")).texts)
    for words in ("By audio", "By visual", "components by visual", "share an audio component or a visual component"):
        assert words in told
    assert "Where labels are known" not in told


def test_where_both_must_match_there_is_no_grid(world: Callable, tmp_path: Path) -> None:
    write(tmp_path / "report.html", report(world("all", threshold=0.8), KEYS, "all", steps=4), "A graph")
    reader = read((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert ("id", "grid") not in reader.attributes
    assert json.loads(reader.scripts[0])["grid"] is None
    assert "there is no grid" in "".join(reader.texts)


def test_names_in_the_table_of_components_stand_a_line_each(world: Callable) -> None:
    found = report(world(threshold=0.8), [f"a-{number}-b_0_10" for number in range(40)], "any", steps=4)
    first = found.facts["largest"]["joint"][0]
    html = page(found, "A graph")
    assert ".long td { white-space: pre; }" in html
    for names in (first["examples"], [first["bridge"]["first"], first["bridge"]["second"]]):
        assert "\n".join(names) in "".join(read(html).texts)
