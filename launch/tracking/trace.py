"""python -m launch lineage --run RUN
python -m launch lineage data/parsers/han

What a run, or what lies in a folder, was made from, as a tree: scores ← parser ← embeddings ← encoder ← components ←
shards, each with its digest, the run that made it, and where it lay. What no run in the store has made is said so. A
folder may have moved since: it is known by the digests of its files.
"""

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field, model_validator
from rich.console import Console
from rich.tree import Tree

from launch.digest import sha256_file
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking.lineage import INPUT, OUTPUT, SHOWN, Thing, makers, things_of
from launch.tracking.redact import redacted_address
from launch.tracking.settings import Tracking
from launch.tracking.store import Unreachable, answered, connect, find

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DATA = ".tar"
"""Files of shards are not looked at: their manifest stands for them."""
LONG = 4096
"""Characters of a line in a file; a terminal breaks lines at its width."""


class Config(Settings):
    """Prints what a run, or what lies in a folder, was made from, back to the first shards."""

    run: str = Field("", description="id of an MLflow run; either this or of")
    of: Path | None = Field(None, description="folder of a parser, an encoder, a graph, scores or shards")
    tracking: Tracking = Tracking()

    @model_validator(mode="after")
    def _one_beginning(self) -> "Config":
        if bool(self.run) == (self.of is not None):
            raise ValueError("a lineage begins in one place: give either --run or --of.")
        return self


def main(config: Config) -> None:
    """Prints the tree; raises Refusal for a run that is not in the store, and a folder that no run has made."""
    try:
        with answered() as answer:
            trees = _trees(config)
    except Unreachable as error:
        raise Refusal(
            f"A lineage must be read from a store that answers, but {redacted_address(config.tracking.store)} does not "
            f"({error}): look at its server, or at --tracking.root."
        ) from None
    if answer.refusal:
        raise Refusal(f"A lineage must be one that the store tells, but it does not ({answer.refusal}): look at it.")
    console = Console(markup=False, highlight=False, width=None if sys.stdout.isatty() else LONG)
    for tree in trees:
        console.print(tree)


def _trees(config: Config) -> list[Tree]:
    walk = Walk(_client(config.tracking))
    if config.of is not None:
        return [walk.tree(thing) for thing in _things_in(config.of, walk)]
    found = find(walk.client, config.run)
    if found is None:
        raise Refusal(
            f"A run must be in the store, but {redacted_address(config.tracking.store)} has none of id '{config.run}': "
            "copy the id from its page, or give --tracking.root."
        )
    return [walk.of_run(found)]


class Walk:
    """A way back from one thing to all that it was made from; what was passed before is named, not told again."""

    def __init__(self, client: "MlflowClient") -> None:
        self.client = client
        self._makers: dict[str, list[Run]] = {}
        self._told: set[str] = set()

    def makers(self, digest: str) -> "list[Run]":
        """The runs that made a thing, the likeliest first."""
        if digest not in self._makers:
            self._makers[digest] = makers(self.client, digest)
        return self._makers[digest]

    def of_run(self, run: "Run") -> Tree:
        """The tree of what a run read."""
        made = things_of(run, OUTPUT)
        tree = Tree(_line(run))
        for thing in made:
            tree.add(f"made {_name(thing)}")
        self._told.update(thing.digest for thing in made)
        self._grow(tree, run)
        return tree

    def tree(self, thing: Thing) -> Tree:
        """The tree of a thing: the run that made it, and what that read."""
        runs = self.makers(thing.digest)
        if not runs:
            return Tree(f"{_name(thing)} ← no run in this store has made it; it lay at '{thing.place}'")
        others = f" (and {len(runs) - 1} more made the same)" if len(runs) > 1 else ""
        tree = Tree(f"{_name(thing)} ← {_line(runs[0])}{others}")
        if thing.digest in self._told:
            tree.label = f"{_name(thing)} ← as above"
            return tree
        self._told.add(thing.digest)
        self._grow(tree, runs[0])
        return tree

    def _grow(self, tree: Tree, run: "Run") -> None:
        for thing in things_of(run, INPUT):
            tree.children.append(self.tree(thing))


def _client(tracking: Tracking) -> "MlflowClient":
    """The store, which is not made by looking into it."""
    if not tracking.uri and not (tracking.root / "mlflow.db").exists():
        raise Refusal(
            f"A run root must hold mlflow.db, but '{tracking.root}' does not: give the --tracking.root that the stages "
            "were given."
        )
    return connect(tracking.store)


def _things_in(folder: Path, walk: Walk) -> list[Thing]:
    """The things in a folder, or in the folders below it, that some run has made."""
    if not folder.is_dir():
        raise Refusal(f"A lineage is that of a folder, but '{folder}' is none: look for it, or give --run with an id.")
    found: dict[str, Thing] = {}
    for file in sorted([*folder.glob("*"), *folder.glob("*/*")]):
        for digest in _digests(file) if file.is_file() and file.suffix != DATA else ():
            made = [thing for run in walk.makers(digest)[:1] for thing in things_of(run, OUTPUT)]
            found |= {thing.digest: thing for thing in made if thing.digest == digest}
    if not found:
        raise Refusal(
            f"A folder must hold what a run in the store has made, but no file in '{folder}' is of any: give the "
            "folder that a stage wrote, and the --tracking.root that it was given."
        )
    return list(found.values())


def _digests(file: Path) -> Sequence[str]:
    """By what a file is known: its own digest, or the one that it says is that of all beside it."""
    if file.suffix == ".json":
        try:
            said = json.loads(file.read_text())
        except (OSError, ValueError):
            said = None
        digest = said.get("digest") if isinstance(said, dict) else None
        if isinstance(digest, str):
            return (digest,)
    return (sha256_file(file),)


def _name(thing: Thing) -> str:
    return f"{thing.kind} {thing.name + ' ' if thing.name else ''}{thing.digest[:SHOWN]}"


def _line(run: "Run") -> str:
    begun = datetime.fromtimestamp(run.info.start_time / 1000).strftime("%Y-%m-%d %H:%M")
    return f"{run.info.run_name} (run {run.info.run_id}, {run.info.status}, {begun})"
