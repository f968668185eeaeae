"""What the processes of a crew do: they examine files, and decode clips. One that is no use is a failure, no end."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from launch.refusal import Refusal
from shards.extract.decoding import BadClip, Decoded, Decoder, Wanted
from shards.extract.making.failures import Failure, OnBad, printable
from shards.extract.making.files import VideoFile
from shards.extract.making.plan import Examined, Media, Task


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
    """Decodes a clip."""

    decoder: Decoder
    wanted: Wanted
    on_bad: OnBad

    def __call__(self, task: Task) -> tuple[Task, Decoded | Failure]:
        """What comes of the task. Raises Refusal for a bad clip where it shall stop the extraction."""
        try:
            (found,) = self.decoder.decode(task.path, (task.clip,), self.wanted)
            if isinstance(found, BadClip):
                raise found
        except Exception as error:
            return task, _left_out(task.name, task.path, error, task.clip.start, self.on_bad)
        return task, found


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
