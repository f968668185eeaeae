"""Job: how many processes work on a stage, and how often they are started again."""

from pathlib import Path

from pydantic import Field

from launch.settings import Settings


class Job(Settings):
    """Processes of one run on this machine."""

    processes: int = Field(1, ge=1, description="processes that train together (one a GPU, or any number on CPU)")
    threads: int = Field(0, ge=0, description="CPU threads a process; 0 shares this machine's cores among them")
    max_restarts: int = Field(
        3, ge=0, description="times that several processes which died are started again, to go on where they were"
    )
    lost_after: float = Field(
        15.0, gt=0, description="seconds without a sign of life after which a process counts as lost, and all end"
    )
    logs: Path | None = Field(
        None, description="folder where every process writes what it says, a file each; none: only rank 0 speaks"
    )
