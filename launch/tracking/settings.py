"""Where runs are recorded, and how they are part of one another."""

import json
from pathlib import Path
from typing import Self

from pydantic import Field, model_validator

from launch.settings import Settings
from launch.tracking import address

PARENT = "mlflow.parentRunId"
"""The tag by which MLflow shows a run inside another."""


class Tracking(Settings):
    """Where runs are recorded."""

    root: Path = Field(Path("runs"), description="run root: the journal, and the store (mlflow.db) with its artifacts")
    uri: str = Field(
        "",
        description="MLflow's store, such as http://HOST:5000; empty: a sqlite store under root. "
        "MLFLOW_TRACKING_URI is not read",
    )
    experiment: str = Field("soundsight", description="MLflow experiment that holds the run")
    name: str = Field("", description="what the run is called after its stage, such as a config's name")
    parent: str = Field("", description="id of the MLflow run that this one is part of; empty: it stands alone")
    wait: float = Field(
        10.0,
        ge=0,
        description="seconds that the end of a stage waits for a store that does not answer; what is left stays in the "
        "journal",
    )

    system_interval: float = Field(
        10.0,
        ge=0,
        description="seconds between two samples of each host's load: CPU, memory, disk, network, GPUs; 0: none",
    )

    @model_validator(mode="after")
    def _has_an_address_that_mlflow_takes(self) -> Self:
        if self.uri:
            address.check(self.uri, self.root)
        return self

    @property
    def store(self) -> str:
        """The address of the store, as mlflow wants it."""
        return address.absolute(self.uri) if self.uri else f"sqlite:///{self.root.absolute() / 'mlflow.db'}"

    @property
    def place(self) -> str:
        """The root and the store in one word, by which another process can end a run."""
        return json.dumps([str(self.root.absolute()), self.store])
