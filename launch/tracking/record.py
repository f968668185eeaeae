"""What a stage writes into its run: curves, files, figures, tags, models."""

import time
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from launch.progress import say
from launch.refusal import Refusal

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from mlflow import MlflowClient


class Record:
    """One run being written. Without a client (a rank that does not lead) every method does nothing."""

    def __init__(self, client: "MlflowClient | None", run_id: str = "") -> None:
        self._client, self.run_id = client, run_id

    def metrics(self, step: int, values: Mapping[str, float]) -> None:
        """Adds one point to each named curve."""
        if self._client:
            from mlflow.entities import Metric

            now = time.time_ns() // 1_000_000
            points = [Metric(name, float(value), now, step) for name, value in values.items()]
            self._client.log_batch(self.run_id, metrics=points)

    def artifact(self, path: Path) -> None:
        """Copies a file, or a folder under its own name, into the run."""
        if self._client and path.is_dir():
            self._client.log_artifacts(self.run_id, str(path), path.name)
        elif self._client:
            self._client.log_artifact(self.run_id, str(path))

    def text(self, name: str, content: str) -> None:
        """Writes a small text file (name with its suffix) into the run."""
        if self._client:
            self._client.log_text(self.run_id, content, name)

    def skipped(self, step: int, faults: Collection[str]) -> None:
        """Counts the videos that were skipped so far, and lists and says why: one sentence a video."""
        self.metrics(step, {"skipped_videos": len(faults)})
        if faults:
            self.text("skipped.txt", "\n".join(faults) + "\n")
            first = next(iter(faults))
            say(f"Skipped {len(faults)} videos, which are listed in the run's skipped.txt. The first: {first}")

    def figure(self, name: str, figure: "Figure") -> None:
        """Writes a matplotlib figure (name with its suffix) into the run."""
        if self._client:
            self._client.log_figure(self.run_id, figure, name)

    def register(self, model: Path, name: str, alias: str, tags: Mapping[str, str]) -> str:
        """Copies a model's folder into the run and makes it the newest version of the registered model; its number.

        An alias that is not "" points to it from now on, and to no version before. Raises Refusal for a name or an
        alias that MLflow does not take.
        """
        if not self._client:
            return ""
        from mlflow.exceptions import MlflowException

        self.artifact(model)
        source = f"{self._client.get_run(self.run_id).info.artifact_uri}/{model.name}"
        try:
            try:
                self._client.create_registered_model(name)
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            version = self._client.create_model_version(name, source, self.run_id, dict(tags)).version
            if alias:
                self._client.set_registered_model_alias(name, alias, version)
        except MlflowException as error:
            raise Refusal(
                f"A model must be registered under a name and an alias that MLflow takes, but '{name}' with alias "
                f"'{alias}' is not ({error.message.rstrip('.')}): give another --name or --alias."
            ) from None
        return str(version)

    def tags(self, values: Mapping[str, str]) -> None:
        """Sets tags: short facts to find the run by, such as the digests of what it read."""
        if self._client:
            for name, value in values.items():
                self._client.set_tag(self.run_id, name, value)
