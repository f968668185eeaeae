"""What the processes of a crew do: they examine files, and decode clips. One that is no use is a failure, no end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from launch.refusal import Refusal
from shards.extract.decoding import BadClip, Decoded, Decoder, Wanted
from shards.extract.failures import Failure, printable
from shards.extract.files import VideoFile
from shards.extract.plan import Examined, Media, Task

OnBad = Literal["skip", "stop"]
"""What a file or clip that is no use does: it is left out and listed, or it stops the extraction."""


@dataclass(frozen=True)
class Examining:
    """Looks at the headers of a file."""

    examine: Callable[[Path], Media]
    on_bad: OnBad

    def __call__(self, task: tuple[int, VideoFile]) -> tuple[int, Examined | Failure]:
        """What the file with this number holds. Raises Refusal for a bad one where it shall stop the extraction."""
        number, file = task
        try:
            media = self.examine(file.path)
        except Exception as error:
            return number, _left_out(file.name, file.path, error, None, self.on_bad)
        return number, Examined(file, media.seconds, media.notes)


@dataclass(frozen=True)
class Decoding:
    """Decodes a few clips of a file."""

    decoder: Decoder
    wanted: Wanted
    on_bad: OnBad

    def __call__(self, task: Task) -> tuple[Task, tuple[Decoded | Failure, ...]]:
        """The clips in order. Raises Refusal for a bad one where it shall stop the extraction."""
        outcomes = zip(task.clips, self._outcomes(task), strict=True)
        return task, tuple(
            _left_out(task.name, task.path, found, clip.start, self.on_bad) if isinstance(found, Exception) else found
            for clip, found in outcomes
        )

    def _outcomes(self, task: Task) -> Iterator[Decoded | Exception]:
        """One a clip, whatever the decoder does."""
        left = len(task.clips)
        try:
            for found in islice(self.decoder.decode(task.path, task.clips, self.wanted), left):
                left -= 1
                yield found
            error: Exception = BadClip("A decoder must tell of every clip, but this one ended before.")
        except Exception as fault:
            error = fault
        yield from [error] * left


def _left_out(name: str, path: Path, error: Exception, start: float | None, on_bad: OnBad) -> Failure:
    """What is listed of an error; one that nobody foresaw costs the file, not the thousand others."""
    if isinstance(error, Refusal):
        sentence = str(error)
    elif isinstance(error, OSError):
        sentence = f"A video must be readable, but '{path}' is not: {error.strerror or error}."
    else:
        sentence = f"A video must be one that its decoder reads, but '{path}' made it fail: {error!r}."
    if on_bad == "stop":
        fault = printable(sentence.removesuffix("."))
        raise Refusal(f"{fault}, or go on without what is bad (--on_bad skip).")
    second = error.second if isinstance(error, BadClip) else None if isinstance(error, OSError) else start
    return Failure(name, second, sentence)
