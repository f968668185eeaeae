"""The page holds all that is known, escaped, and may do nothing but run its own script and play its own video."""

import json
import re
from base64 import b64encode
from dataclasses import replace
from hashlib import sha256
from html.parser import HTMLParser
from typing import Any

import pytest

from finetune.page.page import Made, Played, page
from finetune.parses.whole import Whole
from shards.labels import CATEGORIES

MADE = Made({"Parser": "han <i>", "vggish": "raw"}, ["RANDOM WEIGHTS: <nothing> was learned."], 0.5)
PLAYED = Played("embedded", "data:video/mp4;base64,AAAA", "A copy of my <clip>.mp4.")
ALONE = ("meta", "input", "br", "link")


class Reader(HTMLParser):
    """The elements, attributes and texts of a page; refuses tags that do not close in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in ALONE:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        tag = self.open[-1] if self.open else ""
        self.texts[tag] = self.texts.get(tag, "") + data

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for each, attributes in self.elements if each == tag]


def data(html: str) -> Any:
    return json.loads(re.findall(r'<script type="application/json" id="data">(.*?)</script>', html, re.DOTALL)[0])


def test_whatever_things_are_called_the_page_shows_it_and_runs_none_of_it(whole: Whole) -> None:
    nasty = replace(whole, name="</title><script>alert(1)</script><b a='\"", clips=whole.clips)
    html = page(nasty, MADE, Played("embedded", 'data:video/mp4,"><script>alert(2)</script>', "<u>note</u>"))
    reader = Reader(html)
    assert nasty.name in reader.texts["title"]
    assert reader.texts["h1"] == nasty.name
    assert len(reader.named("script")) == 2
    assert reader.named("b") == [{"id": "time"}]
    assert not reader.named("u")
    assert "han <i>" in reader.texts["dd"]
    assert "RANDOM WEIGHTS: <nothing> was learned." in reader.texts["p"]
    assert "Two frames are <damaged>." in reader.texts["p"]


def test_the_policy_allows_the_two_that_stand_in_the_frame_and_nothing_from_elsewhere(whole: Whole) -> None:
    html = page(whole, MADE, PLAYED)
    (policy,) = (each["content"] for each in Reader(html).named("meta") if each.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert "media-src data: blob:;" in policy
    for tag in ("script", "style"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", html, re.DOTALL)
        assert f"{tag}-src 'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'" in policy
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", html)
    assert "media-src file:;" in page(whole, MADE, Played("linked", "../my%20clip.mp4"))
    assert "media-src 'none';" in page(whole, MADE, Played("none"))
    assert not Reader(page(whole, MADE, Played("none"))).named("video")


def test_the_data_are_the_events_of_the_file_and_the_curves_of_its_clips(whole: Whole) -> None:
    html = page(whole, MADE, PLAYED)
    told = data(html)
    dog = CATEGORIES.index("Dog")
    assert [(e["lane"], e["onset"], e["offset"]) for e in told["events"] if e["category"] == dog] == [
        ("audio", 8, 13), ("visual", 2, 5),
    ]  # fmt: skip
    assert told["truth"] == [{"category": dog, "lane": "audio", "onset": 7, "offset": 10, "confidence": 1.0}]
    assert told["absent"] == {"audio": [[18, 22.4]]}
    assert [(each["start"], each["end"]) for each in told["clips"]] == [(0, 10), (10, 20), (20, 22.4)]
    assert told["clips"][1]["curves"]["audio"][dog] == [0.9, 0.9, 0.9, *[0.1] * 5, None, None]
    assert told["limit"] == 0.5
    assert data(page(whole, replace(MADE, limit=None), PLAYED))["limit"] is None
    assert "<" not in re.findall(r'id="data">(.*?)</script>', html, re.DOTALL)[0]


def test_without_a_script_the_events_are_a_table(whole: Whole) -> None:
    reader = Reader(page(whole, MADE, PLAYED))
    assert len(reader.named("td")) == 5 * len(whole.events)
    assert reader.texts["td"] == "heardCar15180.90heardDog8130.90seenDog250.90"


@pytest.mark.parametrize(
    ("absent", "said"),
    [
        ({"audio": [3, 4]}, "There is no sound from 3 to 5 s: nothing is heard there."),
        (
            {"visual": list(range(10))},
            "There is no picture in this file: nothing is seen, and nothing is heard and seen.",
        ),
        (
            {"audio": [0, 2, 4, 6, 8]},
            "from 0 to 1 s, from 2 to 3 s, from 4 to 5 s and in 2 more places: nothing is heard",
        ),
    ],
)
def test_what_is_not_there_is_said_first(whole: Whole, absent: Any, said: str) -> None:
    first = whole.clips[0]
    alone = Whole("x", "x.mp4", 10, (replace(first, parse={**first.parse, "absent": absent}, notes=()),))
    assert said in Reader(page(alone, Made({}), PLAYED)).texts["p"]
    assert boxes(page(alone, Made({}), PLAYED)) == ["warnings quiet"]
    assert boxes(page(alone, MADE, PLAYED)) == ["warnings"]
    assert boxes(page(replace(alone, clips=(replace(first, notes=()),)), Made({}), PLAYED)) == []


def test_that_there_is_nothing_to_hear_is_said_once_and_other_notes_stay(whole: Whole) -> None:
    notes = ("It has no sound: nothing is heard.", "A frame is damaged.")
    mute = replace(whole.clips[0], parse={**whole.clips[0].parse, "absent": {"audio": list(range(10))}}, notes=notes)
    said = Reader(page(Whole("x", "x.mp4", 10.008, (mute,)), Made({}), PLAYED)).texts["p"]
    assert "There is no sound in this file" in said
    assert "It has no sound" not in said
    assert "A frame is damaged." in said
    assert "10 seconds in 1 clip" in said
    assert (
        notes[0] in Reader(page(replace(whole, clips=(replace(whole.clips[0], notes=notes),)), MADE, PLAYED)).texts["p"]
    )


def test_what_marks_and_bold_numbers_mean_is_said_where_there_is_one_limit(whole: Whole) -> None:
    assert (
        "The mark on each bar is 0.5: from there on a number is bold." in Reader(page(whole, MADE, PLAYED)).texts["p"]
    )
    assert "The mark" not in Reader(page(whole, replace(MADE, limit=None), PLAYED)).texts["p"]


def boxes(html: str) -> list[str]:
    """The kinds of the boxes of what is to be known first."""
    kinds = [each.get("class") or "" for each in Reader(html).named("section")]
    return [kind for kind in kinds if kind.startswith("warnings")]


def test_parts_that_were_not_parsed_are_not_taken_for_silent_ones(whole: Whole) -> None:
    html = page(replace(whole, clips=whole.clips[1:2]), MADE, PLAYED)
    assert "Nothing is known from 0 to 10 s, from 20 to 22.4 s" in Reader(html).texts["p"]
    assert data(html)["gaps"] == [[0, 10], [20, 22.4]]
    assert data(page(whole, MADE, PLAYED))["gaps"] == []
