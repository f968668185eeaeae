"""How videos are read and made features of, whoever asks for it: `extract`, or a stage that starts it."""

from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from shards.extract.making.failures import OnBad
from shards.extract.recipes import RecipeSettings


class ExtractSettings(RecipeSettings):
    """Which parts of which files, by which library, with which networks."""

    pattern: str = Field("*", description="names of the files in folders that are taken, such as *.mp4")
    segments: Path | None = Field(
        None, description="table in AudioSet's format (YTID, start, end, labels) of the parts to cut out of <YTID>.*"
    )
    tables: Path | None = Field(None, description="folder of LLP's tables: their videos are the parts to cut out")
    trimmed: bool = Field(False, description="whether each file holds nothing but its part of the segments or tables")
    decoder: Literal["pyav", "torchcodec"] = Field("pyav", description="library that decodes")
    audio_track: int | None = Field(None, ge=0, description="audio track, counted from 0; none: the file's main one")
    max_pixels: int = Field(1 << 26, ge=1, description="pixels that a picture may have; larger ones are refused")
    images: int = Field(64, ge=1, description="pictures that go through a network at a time; more take more memory")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where networks run; auto: a GPU if there is one"
    )
    processes: int = Field(0, ge=0, description="processes that decode; 0: one a core, 1: none but this one")
    videos_per_shard: int = Field(100, ge=1, description="clips a tar, and so what a kill costs at most")
    on_bad: OnBad = Field("skip", description="a file or clip that is no use is left out and listed, or stops all")

    @model_validator(mode="after")
    def _one_list(self) -> "ExtractSettings":
        if self.segments and self.tables:
            raise ValueError("parts come from one list: give either segments or tables.")
        if self.trimmed and not (self.segments or self.tables):
            raise ValueError("trimmed files need a list that says which part each holds: give segments or tables.")
        return self
