"""Label tracks of Audacity: tab separated `onset offset label`, seconds, one line an event.

Audacity takes one file for one track (File → Import → Labels), so a video has a file a lane. Labels may overlap.
"""

from collections.abc import Iterable

from finetune.parses.events import Event

SUFFIX = ".txt"
"""After the lane's name: `<video>.audio.txt`."""


def audacity_text(events: Iterable[Event]) -> str:
    """A label track of these events, by onset; the empty text without any, which Audacity reads as a track of none."""
    ordered = sorted(events, key=lambda event: (event.onset, event.offset, event.category))
    return "".join(f"{event.onset:.6f}\t{event.offset:.6f}\t{event.category}\n" for event in ordered)
