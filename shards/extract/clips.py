"""Clips: which parts of a video file become videos of a corpus, and by which keys."""

from dataclasses import dataclass

from shards.schema import seconds_of


@dataclass(frozen=True)
class Clip:
    """At most ten seconds of a file, [start, end) in seconds of the file."""

    key: str
    start: float
    end: float

    @property
    def seconds(self) -> int:
        """Whole seconds of features that it has; a last second that is begun counts."""
        return seconds_of(self.key)
