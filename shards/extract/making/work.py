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

    def __call__(self, file: VideoFile) -> tuple[VideoFile, Examined | Failure]:
        """What the file holds. Raises Refusal for a bad one where it shall stop the extraction."""
        try:
            media = self.examine(file.path)
        except Exception as error:
            return file, _left_out(file.name, file.path, error, None, self.on_bad)
        return file, Examined(file, media.seconds, media.notes)

    def give_up(self, file: VideoFile, how: str) -> Failure:
        """What is listed of a file whose headers end the process that reads them."""
        return _left_out(file.name, file.path, _deadly(file.path, how, None), None, self.on_bad)


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

    def give_up(self, task: Task, how: str) -> Failure:
        """What is listed of a clip that ends the process that decodes it."""
        fault = _deadly(task.path, how, task.clip.start)
        return _left_out(task.name, task.path, fault, task.clip.start, self.on_bad)


def _deadly(path: Path, how: str, second: float | None) -> BadClip:
    return BadClip(
        f"A video must leave alive what reads it, but two processes ended over '{path}', the second of which did "
        f"nothing else and {how}: convert it, or leave it out.",
        second,
    )


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
