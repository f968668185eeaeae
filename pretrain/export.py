"""python -m launch export --encoder data/pretrained/encoder --shards data/shards --out data/embedded

Runs a pre-trained encoder over shards and writes its contextual embeddings as shards again, with the features
`pretrained_audio` and `pretrained_visual`, so that the parser reads them like any others. Where the shards say which
seconds have audio and which a picture (`present`), the encoder sees no others, and what is written says so too. An
export that was stopped or killed goes on when it is started again, and its bytes do not show it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch.nn.functional import normalize

from launch import tracking
from launch.atomic import Unfinished, resumable_folder, run_of
from launch.digest import sha256_json
from launch.progress import say, track
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking import Tracking
from pretrain.model import Description, Transformer, describe_encoder, load_encoder
from pretrain.traced import encoder_of
from shards.finished import VERSION, Bad, Bench, Done, going_on, sweep
from shards.location import Location
from shards.manifest import Manifest
from shards.present import as_told, snippets_there
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import PRESENT, Feature, Video
from shards.traced import shard_set, written_set
from shards.write import ShardWriter

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
    batch: int = Field(256, ge=1, description="videos encoded at a time, all of one tar; another may round otherwise")
    videos_per_shard: int = Field(
        1000,
        ge=1,
        description="videos a tar (41 kB a video with embeddings 1,024 wide), and so what a kill costs at most",
    )
    replace: bool = Field(False, description="whether the result may replace the one already in out")
    reading: ReadSettings = ReadSettings()
    tracking: Tracking = Tracking()


def main(config: Config) -> None:
    """Reads every set once, in stored order, and writes all sets or none."""
    described, sets = describe_encoder(config.encoder), open_sets(config.shards, config.reading)
    say(f"Read the encoder {described.digest[:12]} from '{config.encoder}'.")
    say(f"Read from '{config.shards}': {_counted(sets)}.")
    for shards in sets.values():
        check_features(described, shards)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    plan = _plan(config, described.digest, {name: each.manifest.digest for name, each in sets.items()}, device)
    with tracking.run(config.tracking, "export", config, resume=run_of(config.out, plan)) as record:
        record.reads(encoder_of(config.encoder), *(shard_set(each, name) for name, each in sets.items()))
        with resumable_folder(config.out, plan, config.replace) as unfinished:
            unfinished.run.write_text(record.run_id)
            encoder = load_encoder(config.encoder).eval().to(device)
            exports = [Export(config, name, each, encoder, described.digest) for name, each in sets.items()]
            done = _make(exports, unfinished)
            sweep(unfinished, done)
            written = {each.name: each.manifest(done) for each in exports}
            for name, manifest in written.items():
                manifest.write(unfinished.result / name)
        for name, manifest in written.items():
            say(f"Wrote '{config.out / name}': {manifest.videos} videos, manifest {manifest.digest[:12]}.")
        record.makes(*(written_set(manifest, config.out / name, name) for name, manifest in written.items()))
        record.skipped(0, [fault for each in done for _, fault in each.bad])


@dataclass(frozen=True)
class Export:
    """One set on its way through the encoder. A shard is encoded in batches of its own, so it depends on no other."""

    config: Config
    name: str
    shards: Shards
    encoder: Transformer
    digest: str
    """The encoder's."""

    @property
    def count(self) -> int:
        """Number of shards to write."""
        return -(-len(self.shards) // self.config.videos_per_shard)

    @property
    def features(self) -> dict[str, Feature]:
        """What is written of every video: embeddings, stored as float16, and `PRESENT` as it was read."""
        scale, width = self.config.scale, self.encoder.settings.width
        source = f"encoder {self.digest}, {scale}, of manifest {self.shards.manifest.digest}"
        made = {each: Feature(each, width, f"{scale}-{self.digest[:12]}", source) for each in EMBEDDINGS}
        return made | self._copied

    @property
    def _copied(self) -> dict[str, Feature]:
        """`PRESENT`, where the set holds it."""
        held = self.shards.manifest.features
        return {PRESENT: held[PRESENT]} if PRESENT in held else {}

    def make(self, place: Unfinished) -> Iterator[Done]:
        """Every shard in order, made or taken over."""
        bench = Bench(place, self.features, self.config.reading.on_bad)
        for number in range(self.count):
            first = number * self.config.videos_per_shard
            places = range(first, min(first + self.config.videos_per_shard, len(self.shards)))
            yield bench.shard(self.name, number, self.shards.manifest.digest, partial(self._fill, places))

    def manifest(self, done: Sequence[Done]) -> Manifest:
        """Of the shards that were made; raises Refusal when all videos were bad."""
        mine = [each for each in done if each.set == self.name]
        shards, bad = tuple(each.shard for each in mine if each.shard), [each for one in mine for each in one.bad]
        if not shards:
            raise Refusal(
                f"A shard set must hold at least one video, but all of '{self.shards.location}' are bad: {bad[0][1]}"
            )
        source: dict[str, Any] = {
            "stage": "export",
            "encoder": self.digest,
            "manifest": self.shards.manifest.digest,
            "scale": self.config.scale,
            "corpus": self.shards.manifest.source.get("corpus"),  # so that planted features stay known as such
            "left_out": {"bad": len(bad)},
        }
        return Manifest(self.features, shards, source)

    def _fill(self, places: range, writer: ShardWriter) -> Bad:
        bad: list[tuple[str, str]] = []
        for first in range(places.start, places.stop, self.config.batch):
            asked = range(first, min(first + self.config.batch, places.stop))
            read = self.shards.batch(asked, (*self.encoder.settings.features, *self._copied))
            skipped = sorted(set(asked).difference(read.places.tolist()))
            bad += [(self.shards.keys[place], fault) for place, fault in zip(skipped, read.faults, strict=True)]
            keys = [self.shards.keys[place] for place in read.places]
            told = as_told(read.features[PRESENT], self.shards.location) if PRESENT in self._copied else None
            there = snippets_there(keys, told).swapaxes(0, 1)
            present = None if there.all() else there
            rows = dict(zip(EMBEDDINGS, embed(self.encoder, read.features, self.config.scale, present), strict=True))
            rows |= {name: read.features[name] for name in self._copied}
            for index, key in enumerate(keys):
                writer.add(Video(key, {name: each[index] for name, each in rows.items()}))
        return bad


def embed(
    encoder: Transformer,
    features: Mapping[str, Float[np.ndarray, "video second feature"]],
    scale: Literal["layer_norm", "unit"],
    present: Bool[np.ndarray, "video modality second"] | None,
) -> list[Float[np.ndarray, "video second width"]]:
    """The audio and the visual embeddings of some videos, float32; zeros where nothing is present."""
    device = encoder.norm.weight.device
    mask = None if present is None else torch.from_numpy(np.ascontiguousarray(present)).to(device)
    with torch.inference_mode():
        found = encoder({name: torch.from_numpy(array).to(device) for name, array in features.items()}, mask)
    return [(normalize(each, dim=-1) if scale == "unit" else each).cpu().numpy() for each in found]


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


def _plan(config: Config, encoder: str, manifests: Mapping[str, str], device: torch.device) -> dict[str, str]:
    """All that the bytes depend on, by name: the last bit of a sum also depends on the device and on the batch."""
    return {
        "version": VERSION,
        "encoder": encoder,
        "shards": sha256_json(dict(manifests)),
        "scale": config.scale,
        "batch": str(config.batch),
        "videos_per_shard": str(config.videos_per_shard),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
    }


def _make(exports: Sequence[Export], unfinished: Unfinished) -> list[Done]:
    """Every shard of every set in order."""
    counts = {each.name: each.count for each in exports}
    with going_on(unfinished, counts) as done:
        made = (shard for each in exports for shard in each.make(unfinished))
        done.extend(track(made, "export", sum(counts.values()), "shards"))
    return done


def _counted(sets: Mapping[str, Shards]) -> str:
    return ", ".join(f"{len(shards)} videos{f' of {name}' if name else ''}" for name, shards in sets.items())
