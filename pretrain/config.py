"""The settings of a pre-training run: each room brings its own, this composes them."""

from pathlib import Path

from pydantic import Field

from launch.job import Job
from launch.settings import Settings
from launch.tracking import Tracking
from pretrain.batches import BatchSettings
from pretrain.checkpoint import CheckpointSettings
from pretrain.engine.settings import EngineSettings
from pretrain.evaluation.alarms import AlarmSettings
from pretrain.loss.contrast import LossSettings
from pretrain.model import ModelSettings
from shards.location import Location
from shards.read import ReadSettings


class Config(Settings):
    """Trains the cross-modal encoder on shards and the components of their graph; resumes by itself."""

    shards: Location = Field(description="folder or URL of one shard set, such as shards/train")
    components: Path = Field(description="folder that the graph stage wrote from these shards")
    out: Path = Field(description="folder for checkpoints/ and, at the end, encoder/")
    tables: Path | None = Field(
        None, description="folder of LLP's tables: held-out videos that have labels are probed as well; none: no probe"
    )
    epochs: int = Field(20, ge=1, description="times every video is seen; held-out videos are never trained on")
    steps: int | None = Field(None, ge=1, description="optimizer steps in all; epochs decide when absent")
    stop_after: int | None = Field(
        None, ge=1, description="steps until this start stops, to be resumed; when absent it runs to the end"
    )
    evaluate_every: int = Field(50, ge=1, description="steps between looks at the held-out videos")
    seed: int = Field(0, ge=0, description="of initial weights, order of videos and dropout")
    replace: bool = Field(
        False, description="whether to start over: deletes checkpoints/ and encoder/ in out before the first step"
    )
    model: ModelSettings = ModelSettings()
    loss: LossSettings = LossSettings()
    engine: EngineSettings = EngineSettings()
    batches: BatchSettings = BatchSettings()
    reading: ReadSettings = ReadSettings()
    checkpoints: CheckpointSettings = CheckpointSettings()
    tracking: Tracking = Tracking()
    alarms: AlarmSettings = AlarmSettings()
    job: Job = Job()

    @property
    def how_to_go_on(self) -> str:
        """What continues a run that stopped before its last step."""
        return f"the same command{' without --replace' if self.replace else ''} goes on from there"
