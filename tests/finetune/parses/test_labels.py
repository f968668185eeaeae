"""Label files that Audacity and ELAN read: what goes in comes out, and the documents keep their formats' rules."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from finetune.parses.audacity import audacity_text
from finetune.parses.elan import elan_xml
from finetune.parses.events import LANES, Event, events_of, in_lane

Said = tuple[str, str, float, float]
"""Modality, category, onset, offset."""


def random_events(seed: int) -> tuple[Event, ...]:
    sure = np.random.default_rng(seed).random((2, 25, 10))
    return events_of(sure > 0.6, sure)


def said(events: tuple[Event, ...]) -> list[Said]:
    return sorted((event.modality, event.category, event.onset, event.offset) for event in events)


def from_audacity(text: str, lane: str) -> list[Said]:
    rows = [line.split("\t") for line in text.splitlines()]
    return sorted((lane, category, float(onset), float(offset)) for onset, offset, category in rows)


def from_elan(document: bytes) -> list[Said]:
    root = ElementTree.fromstring(document)
    at = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) / 1000 for slot in root.iter("TIME_SLOT")}
    return sorted(
        (
            tier.attrib["PARTICIPANT"],
            each.findtext("ANNOTATION_VALUE", ""),
            at[each.attrib["TIME_SLOT_REF1"]],
            at[each.attrib["TIME_SLOT_REF2"]],
        )
        for tier in root.iter("TIER")
        for each in tier.iter("ALIGNABLE_ANNOTATION")
    )


def tiers(document: bytes) -> dict[str, list[tuple[float, float]]]:
    root = ElementTree.fromstring(document)
    at = {slot.attrib["TIME_SLOT_ID"]: int(slot.attrib["TIME_VALUE"]) / 1000 for slot in root.iter("TIME_SLOT")}
    return {
        tier.attrib["TIER_ID"]: [
            (at[each.attrib["TIME_SLOT_REF1"]], at[each.attrib["TIME_SLOT_REF2"]])
            for each in tier.iter("ALIGNABLE_ANNOTATION")
        ]
        for tier in root.iter("TIER")
    }


@pytest.mark.parametrize("seed", range(3))
def test_every_event_comes_back_from_the_files(seed: int) -> None:
    events = random_events(seed)
    assert len(events) > 50
    assert from_elan(elan_xml(events)) == said(events)
    for lane in LANES:
        mine = in_lane(events, lane)
        assert from_audacity(audacity_text(mine), lane) == said(mine)


def test_a_label_track_is_in_the_order_of_time() -> None:
    onsets = [float(line.split("\t")[0]) for line in audacity_text(in_lane(random_events(0), "audio")).splitlines()]
    assert onsets == sorted(onsets)


def test_annotations_of_a_tier_never_overlap_though_categories_do() -> None:
    events = (Event("Speech", "audio", 0, 6, 1), Event("Dog", "audio", 3, 9, 1), Event("Speech", "audio", 8, 10, 1))
    assert tiers(elan_xml(events)) == {"audio Dog": [(3, 9)], "audio Speech": [(0, 6), (8, 10)]}
    for spans in tiers(elan_xml(random_events(1))).values():
        assert all(one[1] < other[0] for one, other in pairwise(spans))


@pytest.mark.parametrize("events", [(), random_events(2)], ids=["empty", "full"])
def test_an_elan_document_keeps_the_rules_of_its_format(events: tuple[Event, ...]) -> None:
    root = ElementTree.fromstring(elan_xml(events))
    assert root.tag == "ANNOTATION_DOCUMENT"
    assert {"AUTHOR", "DATE", "FORMAT", "VERSION"} <= set(root.attrib)
    order = [child.tag for child in root]
    assert order[:2] == ["HEADER", "TIME_ORDER"]
    assert order[2:] == ["TIER"] * (len(order) - 3) + ["LINGUISTIC_TYPE"]
    assert root.findall("TIER")
    slots = [(slot.attrib["TIME_SLOT_ID"], int(slot.attrib["TIME_VALUE"])) for slot in root.iter("TIME_SLOT")]
    assert [time for _, time in slots] == sorted(time for _, time in slots)
    names = [name for name, _ in slots]
    annotations = list(root.iter("ALIGNABLE_ANNOTATION"))
    used = [each.attrib[end] for each in annotations for end in ("TIME_SLOT_REF1", "TIME_SLOT_REF2")]
    assert sorted(used) == sorted(names)
    identities = [each.attrib["ANNOTATION_ID"] for each in annotations] + names
    assert len(set(identities)) == len(identities)
    kinds = {kind.attrib["LINGUISTIC_TYPE_ID"] for kind in root.iter("LINGUISTIC_TYPE")}
    assert {tier.attrib["LINGUISTIC_TYPE_REF"] for tier in root.iter("TIER")} == kinds


def test_a_parse_of_nothing_has_a_track_without_labels_and_a_document_without_annotations() -> None:
    assert audacity_text(()) == ""
    assert from_elan(elan_xml(())) == []
    assert tiers(elan_xml(())) == {lane: [] for lane in LANES}


def test_elan_opens_the_media_file_where_it_is_known() -> None:
    document = ElementTree.fromstring(elan_xml(random_events(0), Path("/videos/größe #1 & co.mp4")))
    (media,) = document.iter("MEDIA_DESCRIPTOR")
    assert media.attrib == {
        "MEDIA_URL": "file:///videos/gr%C3%B6%C3%9Fe%20%231%20%26%20co.mp4",
        "MIME_TYPE": "video/mp4",
    }
    assert not list(ElementTree.fromstring(elan_xml(random_events(0))).iter("MEDIA_DESCRIPTOR"))


def test_times_between_seconds_are_told_to_the_millisecond() -> None:
    events = (Event("Dog", "audio", 101.8, 122.4, 0.5),)
    assert from_elan(elan_xml(events)) == said(events)
    assert from_audacity(audacity_text(events), "audio") == said(events)
