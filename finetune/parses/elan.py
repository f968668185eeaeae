"""Annotation files of ELAN (.eaf, format 3.0): XML with time slots in milliseconds and tiers of annotations.

Annotations of one ELAN tier must not overlap, but two categories of one modality may sound together: a tier stands for
a modality and a category, and names its modality as the participant, by which ELAN sorts and groups tiers.
"""

from collections.abc import Iterable, Sequence
from itertools import groupby
from mimetypes import guess_type
from pathlib import Path
from xml.etree import ElementTree

from finetune.parses.events import LANES, Event

SUFFIX = ".eaf"
TYPE = "event"
XSI = "http://www.w3.org/2001/XMLSchema-instance"
SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
UNDATED = "1970-01-01T00:00:00Z"
"""The format wants a date; no clock is read, so that equal parses are equal files."""


def elan_xml(events: Iterable[Event], media: Path | None = None) -> bytes:
    """The annotation document of these events, UTF-8; without any, one that has a tier a modality with nothing in it.

    It opens with its media file where that is known; else ELAN asks for it (Edit → Linked Files).
    """
    ElementTree.register_namespace("xsi", XSI)
    about = {"AUTHOR": "Soundsight", "DATE": UNDATED, "FORMAT": "3.0", "VERSION": "3.0"}
    root = ElementTree.Element("ANNOTATION_DOCUMENT", about | {f"{{{XSI}}}noNamespaceSchemaLocation": SCHEMA})
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if media:
        where = {"MEDIA_URL": media.absolute().as_uri(), "MIME_TYPE": guess_type(media.name)[0] or "unknown"}
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", where)
    ordered = sorted(events, key=lambda event: (LANES.index(event.modality), event.category, event.onset))
    slots = _add_slots(ElementTree.SubElement(root, "TIME_ORDER"), ordered)
    tiers = list[ElementTree.Element]()
    for (modality, category), group in groupby(
        enumerate(ordered), key=lambda item: (item[1].modality, item[1].category)
    ):
        tiers.append(_tier(f"{modality} {category}", modality))
        for number, event in group:
            _annotate(tiers[-1], number, event, slots)
    root.extend(tiers or [_tier(lane, lane) for lane in LANES])
    kind = {"LINGUISTIC_TYPE_ID": TYPE, "TIME_ALIGNABLE": "true", "GRAPHIC_REFERENCES": "false"}
    ElementTree.SubElement(root, "LINGUISTIC_TYPE", kind)
    ElementTree.indent(root)
    return ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n"


def _tier(name: str, modality: str) -> ElementTree.Element:
    return ElementTree.Element("TIER", {"LINGUISTIC_TYPE_REF": TYPE, "PARTICIPANT": modality, "TIER_ID": name})


def _add_slots(order: ElementTree.Element, events: Sequence[Event]) -> dict[tuple[int, int], str]:
    """The time slot of either end (0, 1) of each event; no two share one, and they are listed by time."""
    ends = [
        (second, number, side)
        for number, event in enumerate(events)
        for side, second in enumerate((event.onset, event.offset))
    ]
    slots = dict[tuple[int, int], str]()
    for place, (second, number, side) in enumerate(sorted(ends), start=1):
        slots[number, side] = f"ts{place}"
        at = {"TIME_SLOT_ID": f"ts{place}", "TIME_VALUE": str(round(1000 * second))}
        ElementTree.SubElement(order, "TIME_SLOT", at)
    return slots


def _annotate(tier: ElementTree.Element, number: int, event: Event, slots: dict[tuple[int, int], str]) -> None:
    names = {"ANNOTATION_ID": f"a{number + 1}", "TIME_SLOT_REF1": slots[number, 0], "TIME_SLOT_REF2": slots[number, 1]}
    annotation = ElementTree.SubElement(ElementTree.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION", names)
    ElementTree.SubElement(annotation, "ANNOTATION_VALUE").text = event.category
