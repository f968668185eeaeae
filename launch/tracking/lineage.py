"""Lineage: what a run read and what it made, by digest, so that one can walk from a parser back to its shards.

    input.shards.train    the digest of a shard set that was read      input.encoder, input.components, input.tables, …
    output.parser         the digest of what was made                  output.encoder, output.components, …
    outputs               the digests of all that was made, to find the run by
    read_from, made_at    where each of them lay, as JSON

Two runs belong together where one's output is the other's input: digests do not change when folders move. A run's
description links to the runs that made what it read.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.tracking.redact import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

INPUT, OUTPUT, OUTPUTS = "input.", "output.", "outputs"
PLACES = {INPUT: "read_from", OUTPUT: "made_at"}
NOTE, HEADING = "mlflow.note.content", "**Made from**"
SHOWN = 12
"""Digits of a digest that are shown; the same as in what stages say."""
SPLITS = ("train", "validation", "test")


@dataclass(frozen=True)
class Thing:
    """Something that a stage reads or makes."""

    kind: str
    """corpus, tables, shards, components, encoder, parser, scores, parses or model."""
    digest: str
    place: str | Path
    """A folder or URL."""
    name: str = ""
    """Which of several of a kind, such as the shard set `train`."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """What data holds: feature → its type and shape. Things with columns are listed as datasets, too."""
    facts: Mapping[str, object] = field(default_factory=dict)
    """What else is known of data, such as the number of videos."""

    @property
    def called(self) -> str:
        """Its kind and name, as in the tags."""
        return f"{self.kind}.{self.name}" if self.name else self.kind

    @property
    def location(self) -> str:
        """Where it lies, from wherever one looks."""
        place = str(self.place)
        return redacted(place) if "://" in place else str(Path(place).absolute())


def input_tags(things: Sequence[Thing]) -> dict[str, str]:
    """The tags of what was read."""
    return _tags(INPUT, things)


def output_tags(things: Sequence[Thing]) -> dict[str, str]:
    """The tags of what was made."""
    return _tags(OUTPUT, things) | {OUTPUTS: " ".join(dict.fromkeys(thing.digest for thing in things))}


def _tags(direction: str, things: Sequence[Thing]) -> dict[str, str]:
    digests = {f"{direction}{thing.called}": thing.digest for thing in things}
    return digests | {PLACES[direction]: json.dumps({thing.called: thing.location for thing in things})}


def dataset(thing: Thing) -> dict[str, str]:
    """Data that was read, in the words of MLflow's datasets: a name of two folders, a short digest, a context.

    The profile holds the whole digest.
    """
    parts = [part for part in thing.location.split("/") if part]
    scheme = thing.location.partition("://")[0] if "://" in thing.location else "local"
    kind = {"local": "local", "s3": "s3", "http": "http", "https": "http"}.get(scheme, "external")
    address = {"uri" if kind in ("local", "s3") else "url": thing.location}
    schema = [{"name": name, "type": what, "required": True} for name, what in thing.columns.items()]
    return {
        "name": "/".join(parts[-2:]),
        "digest": thing.digest[:SHOWN],
        "source_type": kind,
        "source": json.dumps(address),
        "schema": json.dumps({"mlflow_colspec": schema}),
        "profile": json.dumps({**thing.facts, "digest": thing.digest}),
        "context": thing.name if thing.name in SPLITS else "labels" if thing.kind == "tables" else "input",
    }


def things_of(run: "Run", direction: str) -> list[Thing]:
    """What a run's tags say that it read (`INPUT`) or made (`OUTPUT`)."""
    places, found = _places(run, direction), []
    for tag, digest in run.data.tags.items():
        if tag.startswith(direction):
            called = tag.removeprefix(direction)
            kind, _, name = called.partition(".")
            found.append(Thing(kind, digest, str(places.get(called, "")), name))
    return sorted(found, key=lambda thing: (thing.kind, thing.name))


def makers(client: "MlflowClient", digest: str) -> "list[Run]":
    """The runs that made a thing of this digest, the likeliest first: finished ones before others, then the newest."""
    if not digest.isalnum():
        return []
    experiments = [each.experiment_id for each in client.search_experiments()]
    query = f"tags.{OUTPUTS} LIKE '%{digest}%'"
    found = client.search_runs(experiments, query, order_by=["attributes.start_time DESC"])
    return sorted(found, key=lambda run: run.info.status != "FINISHED")


def describe(client: "MlflowClient", run: "Run") -> str:
    """A run's description: a list of what it read, with links to the runs that made it; "" where there is nothing."""
    things = things_of(run, INPUT)
    if not things:
        return ""
    return "\n".join([HEADING, "", *(_row(client, each) for each in things)])


def is_own(note: str) -> bool:
    """Whether a description is one that `describe` made, or empty; what somebody wrote by hand stays."""
    return not note or note.startswith(HEADING)


def _places(run: "Run", direction: str) -> dict[str, Any]:
    """Where things lay, as far as the tag tells: a very long one was cut."""
    try:
        return dict(json.loads(run.data.tags.get(PLACES[direction], "{}")))
    except (ValueError, TypeError):
        return {}


def _row(client: "MlflowClient", thing: Thing) -> str:
    runs = makers(client, thing.digest)
    info: Any = runs[0].info if runs else None
    link = f"[{info.run_name}](#/experiments/{info.experiment_id}/runs/{info.run_id})" if info else "no run here"
    return (
        f"- **{f'{thing.kind} {thing.name}'.strip()}** `{thing.digest[:SHOWN]}`, made by {link}, from `{thing.place}`"
    )
