"""What a stage writes into its run: curves, files, figures, tags, models."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launch.progress import say
from launch.refusal import Refusal
from launch.tracking import lineage
from launch.tracking.lineage import Thing
from launch.tracking.redact import redacted
from launch.tracking.store import Unreachable, answered, connect
from launch.tracking.writer import Writer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Record:
    """One run being written. Without a writer (a rank that does not lead) every method does nothing.

    Nothing here waits for the store, but `register`: all else is in the journal when it returns, and sent by a thread.
    """

    def __init__(self, writer: Writer | None, run_id: str = "", store: str = "", wait: float = 10.0) -> None:
        self._writer, self._store, self._wait = writer, store, wait
        self.run_id = run_id

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point to each named curve; one that the run has at this step already stays as it is."""
        if self._writer and values:
            numbers = {name: float(value) for name, value in values.items()}
            self._writer.put({"do": "metrics", "time": _now(), "step": step, "values": numbers})

    def artifact(self, path: Path) -> None:
        """Copies a file, or a folder under its own name, into the run."""
        if self._writer:
            self._writer.put({"do": "artifact", "path": str(self._writer.journal.files.keep(path))})

    def text(self, name: str, content: str) -> None:
        """Writes a small text file (name with its suffix) into the run."""
        if self._writer:
            self._writer.put({"do": "text", "name": name, "content": redacted(content)})

    def skipped(self, step: int, faults: Collection[str]) -> None:
        """Counts the videos that were skipped so far, and lists and says why: one sentence a video."""
        self.metrics(step, {"skipped_videos": len(faults)})
        if faults:
            self.text("skipped.txt", "\n".join(faults) + "\n")
            first = next(iter(faults))
            say(f"Skipped {len(faults)} videos, which are listed in the run's skipped.txt. The first: {first}")

    def figure(self, name: str, figure: "Figure") -> None:
        """Writes a matplotlib figure (name with its suffix) into the run."""
        if self._writer:
            try:
                path = self._writer.journal.files.room(name)
                figure.savefig(path)
            except OSError as error:
                say(f"The figure {name} could not be kept for the run ({error.strerror or error}): it is left out.")
                self._writer.journal.dropped += 1
            else:
                self._writer.put({"do": "artifact", "path": str(path)})

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags: short facts to find the run by, such as the digests of what it read."""
        if self._writer and values:
            self._writer.put({"do": "tags", "values": {name: redacted(value) for name, value in values.items()}})

    def parameters(self, values: Mapping[str, object]) -> None:
        """Logs settings; one that the run has with another value becomes a tag that tells both."""
        if self._writer:
            words = {name: redacted(str(value)) for name, value in values.items()}
            self._writer.put({"do": "params", "values": words})

    def reads(self, *things: Thing) -> None:
        """Notes all that the stage reads: as tags, data also as datasets, and with links to the runs that made it."""
        self.tags(lineage.input_tags(things))
        if self._writer and things:
            for thing in things:
                if thing.columns:
                    self._writer.put({"do": "dataset", **lineage.dataset(thing)})
            self._writer.put({"do": "links"})

    def makes(self, *things: Thing) -> None:
        """Notes all that the stage has made, once it is whole, so that the stages that read it find this run."""
        self.tags(lineage.output_tags(things))

    def register(self, model: Path, name: str, alias: str, tags: Mapping[str, str]) -> str:
        """Copies a model's folder into the run and makes it the newest version of the registered model; its number.

        An alias that is not "" points to it from now on, and to no version before. Raises Refusal for a name or an
        alias that MLflow does not take, and where the store does not answer.
        """
        if not self._writer:
            return ""
        self.artifact(model)
        try:
            if not self._writer.drain(self._wait):
                raise Unreachable("the model is not there yet")
            with answered() as answer:
                return self._new_version(model.name, name, alias, tags)
        except Unreachable as error:
            raise Refusal(
                f"A model must be registered in a store that answers, but {self._store} does not ({error}): start the "
                "same command again when it does."
            ) from None
        raise Refusal(
            f"A model must be registered under a name and an alias that MLflow takes, but '{name}' with alias "
            f"'{alias}' is not ({answer.refusal}): give another --name or --alias."
        )

    def _new_version(self, folder: str, name: str, alias: str, tags: Mapping[str, str]) -> str:
        assert self._writer is not None, "it leads"
        client, run_id = connect(self._store), self._writer.journal.target
        source = f"{client.get_run(run_id).info.artifact_uri}/{folder}"
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name)
        version = client.create_model_version(name, source, run_id, dict(tags)).version
        if alias:
            client.set_registered_model_alias(name, alias, version)
        return str(version)


def _now() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
