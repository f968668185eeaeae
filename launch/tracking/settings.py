"""Where runs are recorded, and how they are part of one another."""

from pathlib import Path

from pydantic import Field

from launch.settings import Settings

PARENT = "mlflow.parentRunId"
"""The tag by which MLflow shows a run inside another."""


class Tracking(Settings):
    """Where runs are recorded."""

    root: Path = Field(Path("runs"), description="folder of the MLflow store (mlflow.db) and its artifacts")
    experiment: str = Field("soundsight", description="MLflow experiment that holds the run")
    name: str = Field("", description="what the run is called after its stage, such as a config's name")
    parent: str = Field("", description="id of the MLflow run that this one is part of; empty: it stands alone")

    @property
    def uri(self) -> str:
        """The address of the store, as mlflow wants it."""
        return f"sqlite:///{self.root.absolute() / 'mlflow.db'}"
