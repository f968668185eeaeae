"""Pace: how fast work goes now, and how long the rest of it takes; how long things take, in words."""

import time
from collections.abc import Callable

WINDOW = 600.0
"""Seconds after which what was measured before counts no more, so that a run which became slower says so."""


class Pace:
    """The pace of work that is counted in items.

    The first item is not measured by: it holds what is done once, such as loading, compiling, filling caches. From
    then on the pace is that of the last half of the items, or of the last ten to twenty minutes where that is less.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = self._now = clock()
        self._done = 0
        self._older = self._newer = (0, self._start)

    def reached(self, done: int) -> None:
        """So many items are done now, in all."""
        self._done, self._now = done, self._clock()
        doubled = self._newer[0] and done >= 2 * self._newer[0]
        if not self._newer[0]:
            self._older = self._newer = (done, self._now)
        elif doubled or self._now - self._newer[1] >= WINDOW:
            self._older, self._newer = self._newer, (done, self._now)

    @property
    def elapsed(self) -> float:
        """Seconds from the start to the last item."""
        return self._now - self._start

    @property
    def each(self) -> float | None:
        """Seconds an item takes; None before the first one is done."""
        items, since = self._older if self._done > self._older[0] else (0, self._start)
        return (self._now - since) / (self._done - items) if self._done else None

    def rate(self, unit: str) -> str:
        """The pace in words, such as '12.5 videos/s', or '3.2 s each' for what takes longer than a second."""
        if self.each is None:
            return ""
        if self.each > 1:
            return f"{duration(self.each) if self.each >= 60 else f'{self.each:.1f} s'} each"
        return f"{1 / max(self.each, 1e-9):,.1f} {unit}/s".replace(" /s", "/s")

    def left(self, total: int | None) -> str:
        """How long the items up to the total take, in words; empty where that is not known."""
        return "" if total is None or self.each is None else duration(max(total - self._done, 0) * self.each)


def duration(seconds: float) -> str:
    """A time in words of two parts at the most: '8 s', '3 min 05 s', '2 h 10 min', '4 d 6 h'."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s"
    minutes = round(seconds / 60)
    if minutes < 24 * 60:
        return f"{minutes // 60} h {minutes % 60:02} min"
    hours = round(seconds / 3600)
    return f"{hours // 24} d {hours % 24} h"
