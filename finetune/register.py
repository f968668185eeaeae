"""python -m launch register --parser runs/han --name soundsight

Makes a saved parser a model in the MLflow registry of the run root, under a name and an alias, ready to be served:

    export MLFLOW_TRACKING_URI=sqlite:///runs/mlflow.db MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false
    mlflow models serve -m models:/soundsight@champion --env-manager local --host 127.0.0.1 --port 5001

`finetune/served/request.py` shows what a client sends and gets back.
"""

import re
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field, field_validator

from finetune.scoring.decision import Protocol
from finetune.served.bundle import write_model
from finetune.traced import parser_of
from launch import tracking
from launch.progress import say
from launch.settings import Settings
from launch.tracking import Tracking


class Config(Settings):
    """Registers a saved parser as an MLflow model, which `mlflow models serve` answers requests with."""

    parser: Path = Field(description="folder of the parser that finetune wrote")
    name: str = Field("soundsight", pattern=r"^[^/:]+$", description="registered model that gets a new version")
    alias: str = Field(
        "champion", pattern=r"^[\w-]*$", description="name that points to this version from now on; empty: none"
    )
    protocol: Protocol = Protocol()
    tracking: Tracking = Tracking()

    @field_validator("alias")
    @classmethod
    def _not_reserved(cls, alias: str) -> str:
        if re.fullmatch(r"(?i)latest|v\d+", alias):
            raise ValueError("an alias must not look like a version ('latest', 'v1'), which MLflow reserves.")
        return alias


def main(config: Config) -> None:
    """Runs the stage; raises Refusal for a parser that cannot be loaded and a name that MLflow does not take."""
    with tracking.run(config.tracking, "register", config) as record, TemporaryDirectory() as work:
        model = Path(work) / "model"
        write_model(model, config.parser, config.protocol)
        parser = parser_of(config.parser)
        record.reads(parser)
        version = record.register(model, config.name, config.alias, {"weights": parser.digest})
    which = f"@{config.alias}" if config.alias else f"/{version}"
    say(f"Registered the parser in '{config.parser}' as version {version} of '{config.name}'.")
    say(f"Its address is models:/{config.name}{which}, in the store {config.tracking.store}.")
