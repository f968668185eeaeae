"""python -m launch export --encoder data/pretrained/encoder --shards data/shards --out data/embedded

Runs a pre-trained encoder over shards and writes its contextual embeddings as shards again, with the features
`pretrained_audio` and `pretrained_visual`, so that the parser reads them like any others.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch.nn.functional import normalize

from launch import tracking
from launch.atomic import whole_folder
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Record, Tracking
from pretrain.model import Description, Transformer, describe_encoder, load_encoder
from shards.location import Location
from shards.manifest import Manifest
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import Feature, Video
from shards.write import Writer

EMBEDDINGS = ("pretrained_audio", "pretrained_visual")


class Config(Settings):
    """Writes an encoder's contextual embeddings of every video as shards."""

    encoder: Path = Field(description="folder `encoder` that pretrain wrote")
    shards: Location = Field(
        description="folder or URL of shards: one set, or a folder of sets (train, validation, test)"
    )
    out: Path = Field(description="folder to write, in the same layout")
    scale: Literal["layer_norm", "unit"] = Field(
        "layer_norm",
        description="length of an embedding: as the last LayerNorm leaves it (values near 1, which suits the parser's "
        "first layer), or 1 (values near 1/√width); the directions, which the loss shapes, are the same",
    )
    batch: int = Field(256, ge=1, description="videos encoded at a time")
    videos_per_shard: int = Field(1000, ge=1, description="videos a tar (41 kB a video with embeddings 1,024 wide)")
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Reads every set once, in stored order, and writes all sets or none."""
    with tracking.run(config.tracking, "export", config) as record:
        with whole_folder(config.out, config.replace) as temporary:
            written = _export_all(config, temporary, record)
        for name, manifest in written.items():
            say(f"Wrote '{config.out / name}': {manifest.videos} videos, manifest {manifest.digest[:12]}.")
            record.tags({f"manifest.{name or 'all'}": manifest.digest})


def _export_all(config: Config, out: Path, record: Record) -> dict[str, Manifest]:
    """Writes every set below a folder; the manifest of each by its name."""
    described, sets = describe_encoder(config.encoder), open_sets(config.shards, config.reading)
    encoder = load_encoder(config.encoder).eval().to("cuda" if torch.cuda.is_available() else "cpu")
    say(f"Read the encoder {described.digest[:12]} from '{config.encoder}'.")
    say(f"Read from '{config.shards}': {_counted(sets)}.")
    record.tags({"encoder": described.digest, "manifest": " ".join(each.manifest.digest for each in sets.values())})
    for shards in sets.values():
        check_features(described, shards)
    written = {
        name: _export(config, encoder, described.digest, shards, out / name, name) for name, shards in sets.items()
    }
    record.skipped(0, [fault for shards in sets.values() for fault in shards.faults])
    return written


def _export(config: Config, encoder: Transformer, digest: str, shards: Shards, folder: Path, name: str) -> Manifest:
    width, source = encoder.settings.width, f"encoder {digest}, {config.scale}, of manifest {shards.manifest.digest}"
    features = [Feature(each, width, f"{config.scale}-{digest[:12]}", source) for each in EMBEDDINGS]
    facts: dict[str, Any] = {
        "stage": "export",
        "encoder": digest,
        "manifest": shards.manifest.digest,
        "scale": config.scale,
    }
    facts |= {"corpus": shards.manifest.source.get("corpus")}  # so that planted features stay known as such
    with Writer(folder, features, facts, config.videos_per_shard) as writer:
        videos = embed(encoder, shards.stream(), config.batch, config.scale)
        for video in track(videos, f"Exporting {name}".strip(), len(shards), "videos"):
            writer.add(video)
        facts["left_out"] = {"bad": len(shards.faults)}  # known at the end, when the writer reads it
    assert writer.manifest is not None, "set at a clean end"
    return writer.manifest


def embed(
    encoder: Transformer, videos: Iterator[Video], batch: int, scale: Literal["layer_norm", "unit"]
) -> Iterator[Video]:
    """The same videos in the same order with their embeddings in place of their features, float32 (10, width)."""
    device = encoder.norm.weight.device
    while some := list(islice(videos, batch)):
        features = {
            name: torch.from_numpy(np.stack([video.features[name] for video in some])).to(device)
            for name in encoder.settings.features
        }
        with torch.inference_mode():
            found = encoder(features)
        rows = [(normalize(each, dim=-1) if scale == "unit" else each).cpu().numpy() for each in found]
        for index, video in enumerate(some):
            yield Video(video.key, {name: each[index] for name, each in zip(EMBEDDINGS, rows, strict=True)})


def check_features(described: Description, shards: Shards) -> None:
    """Refuses shards whose features are not those the encoder was trained on, by name, width and variant."""
    variants = described.provenance.get("variants", {})
    for name, width in described.widths.items():
        shards.check_feature(name)
        found = shards.manifest.features[name]
        variant = variants.get(name, found.variant)
        if (found.width, found.variant) != (width, variant):
            raise Refusal(
                f"An encoder reads the features it was trained on, but '{name}' is {found.width} wide and "
                f"'{found.variant}' in '{shards.location}', and {width} wide and '{variant}' in the encoder: export "
                "the kind of shards it was trained on."
            )


def _counted(sets: dict[str, Shards]) -> str:
    return ", ".join(f"{len(shards)} videos{f' of {name}' if name else ''}" for name, shards in sets.items())
