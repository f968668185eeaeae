"""The file of results: one JSON line a finished training and scoring, which is never made twice.

A line is written at once, under a lock, and is on the disk before the next training starts. One that a kill tore is
recognised and left out.
"""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from finetune.reproduction.code import is_kept, keep
from launch.atomic import sync
from launch.digest import sha256_json
from launch.lock import held
from launch.progress import say
from launch.refusal import Refusal

Flat = Mapping[str, Any]
"""Settings by their dotted names."""


@dataclass(frozen=True)
class Identity:
    """All that the scores of one training depend on, the code aside."""

    row: str
    seed: int
    settings: Flat
    """Every setting of the training and of its protocol; paths, which change nothing, are left out."""
    generator: int | None
    """Version of the generator that planted the features; None for real ones."""
    manifests: Mapping[str, str]
    """Split → digest of the manifest that was read."""
    tables: Mapping[str, str]
    """File → digest of each annotation table."""
    encoder: str
    """Digest of the encoder that made the features, or that is trained along; empty: none."""

    @property
    def key(self) -> str:
        """The sha256 of all of it."""
        return sha256_json(asdict(self))

    def short(self, defaults: Flat) -> str:
        """A name for files; options that are added later, with defaults that keep what was, do not change it."""
        own = {name: value for name, value in self.settings.items() if value != defaults.get(name)}
        return f"{self.row}-{self.seed}-{sha256_json({**asdict(self), 'settings': own})[:8]}"

    def equals(self, earlier: "Identity", defaults: Flat) -> bool:
        """Whether an earlier identity means the same.

        A setting that did not exist then counts as having had the default it has now: a new option does not make
        old results another's. One that existed must have the same value, also where its default has changed since.
        """
        whole = {**asdict(earlier), "settings": {**defaults, **earlier.settings}}
        return whole == {**asdict(self), "settings": {**defaults, **self.settings}}


@dataclass(frozen=True)
class Result:
    """One line: who it is, and what came out."""

    identity: Identity
    commit: str
    """Of the code that trained; "-dirty" where it was not committed; empty outside git."""
    code: str
    """Digest of that code's files."""
    protocol: Mapping[str, Any]
    """The conditions of the scores, as evaluate wrote them."""
    scores: Mapping[str, Mapping[str, Any]]
    """Of the test split in percent: level → kind → score, and "exclusive" → level → kind → score."""
    categories: Mapping[str, Sequence[float | None]]
    """Of the test split in percent: modality → one F1 a category, None where it is neither true nor predicted."""
    validation: Mapping[str, Mapping[str, float]]
    """Of the validation split, by the epoch that was kept."""
    epoch: int
    about_encoder: Mapping[str, Any] | None
    """What is known of the encoder: size, loss, origin."""
    seconds: Mapping[str, float | None]
    """Stage → its duration; None where its result was there from an earlier start."""
    machine: Mapping[str, Any] = field(default_factory=dict)

    def flat(self) -> dict[str, float]:
        """Every score by its path: "segment/type_at_av", "exclusive/event/visible_only" and so on."""
        return _flat(self.scores)

    def line(self) -> str:
        """The JSON line, without its end."""
        rest = {name: value for name, value in asdict(self).items() if name != "identity"}
        return json.dumps({"key": self.identity.key, **asdict(self.identity), **rest}, ensure_ascii=True)

    @classmethod
    def parse(cls, line: str) -> "Result":
        """The result in a line; raises ValueError where it is none, or does not have the key that it says."""
        content = json.loads(line)
        try:
            key = content.pop("key")
            identity = Identity(**{name: content.pop(name) for name in Identity.__dataclass_fields__})
            result = cls(identity, **content)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{type(error).__name__}: {error}") from None
        if key != identity.key:
            raise ValueError("its key is not that of its settings")
        return result


@dataclass(frozen=True)
class Results:
    """The file."""

    path: Path
    commit: bool = False
    """Whether each line is committed to git as soon as it is written."""

    def begin(self) -> None:
        """Commits lines that an earlier start wrote and did not commit, where lines are committed at all.

        Raises Refusal where git would not take the file.
        """
        if self.commit:
            with held(self.path, f"'{self.path}'"):
                if not is_kept(self.path) and self.path.stat().st_size:
                    keep(self.path, "results: lines of an earlier start")

    def read(self) -> list[Result]:
        """Every result, oldest first; a last line that was torn is left out, and said.

        Raises Refusal for any other line that is not a result.
        """
        text = self._text()
        lines = text.splitlines()
        found = list[Result]()
        for number, line in enumerate(lines, start=1):
            try:
                found.append(Result.parse(line))
            except ValueError as error:
                if number < len(lines) or text.endswith("\n"):
                    raise Refusal(
                        f"Every line of a file of results must be one, but line {number} of '{self.path}' is not "
                        f"({error}): remove that line, or give another --results."
                    ) from None
                say(f"The last line of '{self.path}' was torn when its writer died: it is left out and made again.")
        return found

    def append(self, result: Result) -> None:
        """Adds a line, on the disk when this returns, and committed; a torn one before it is removed.

        Raises Refusal where git does not take the file; the line is in it then.
        """
        with held(self.path, f"'{self.path}'"):
            self._mend()
            with self.path.open("ab") as file:
                file.write((result.line() + "\n").encode())
                file.flush()
                os.fsync(file.fileno())
            sync(self.path.parent)
            if self.commit:
                keep(self.path, f"results: {result.identity.row} seed {result.identity.seed}")

    def _text(self) -> str:
        return self.path.read_text() if self.path.exists() else ""

    def _mend(self) -> None:
        """Ends the last line where a whole one lacks its end, and removes it where it is torn."""
        text = self._text()
        if not text or text.endswith("\n"):
            return
        kept, last = text[: text.rfind("\n") + 1], text[text.rfind("\n") + 1 :]
        try:
            Result.parse(last)
        except ValueError:
            os.truncate(self.path, len(kept.encode()))
        else:
            with self.path.open("a") as file:
                file.write("\n")


def newest(wanted: Identity, results: Sequence[Result], defaults: Flat, code: str = "") -> Result | None:
    """The newest result of an identity; `code`: the digest of the code that must have made it, empty: any."""
    fits = (each for each in reversed(results) if code in ("", each.code) and wanted.equals(each.identity, defaults))
    return next(fits, None)


def _flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    found = dict[str, float]()
    for name, value in values.items():
        found |= _flat(value, f"{prefix}{name}/") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return found
