"""The bytes of a member: a safetensors header that is the same for all videos of a set, then the features' values.

Since header and size are known from the manifest, a video is read with one call straight into the rows of a batch, and
no header is parsed. A member that another program wrote in another layout is read through safetensors instead.
"""

import json
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from safetensors.numpy import save

from shards.schema import SECONDS, Feature

SUFFIX = ".safetensors"
SLACK = 1 << 20
"""Bytes a member may have beyond its features' values: for another program's longer header."""


@dataclass(frozen=True)
class Layout:
    """Where what lies in a member, as `shards.write` lays it out."""

    header: bytes
    """The first bytes of every member: the length of the safetensors header, and the header."""
    features: tuple[Feature, ...]
    """In the order of their bytes."""
    starts: Mapping[str, int]
    """The first byte of each feature's values, from the member's start."""
    size: int
    """Bytes of a member."""

    @classmethod
    def of(cls, features: Mapping[str, Feature]) -> "Layout":
        """The layout of a set with these features."""
        payload = save({name: np.zeros((SECONDS, each.width), each.dtype) for name, each in features.items()})
        (length,) = struct.unpack("<Q", payload[:8])
        entries = json.loads(payload[8 : 8 + length])
        starts = {name: 8 + length + entry["data_offsets"][0] for name, entry in entries.items()}
        ordered = tuple(features[name] for name in sorted(starts, key=starts.__getitem__))
        return cls(payload[: 8 + length], ordered, starts, len(payload))

    def length(self, name: str) -> int:
        """Bytes of a feature's values in a member."""
        width, dtype = next((each.width, each.dtype) for each in self.features if each.name == name)
        return SECONDS * width * np.dtype(dtype).itemsize

    @property
    def most(self) -> int:
        """The largest member that is believed, in bytes."""
        return self.size + SLACK

    def views(self, payload: bytes) -> dict[str, np.ndarray] | None:
        """The features in a member's bytes, without a copy; None when it is laid out in another way."""
        if len(payload) != self.size or not payload.startswith(self.header):
            return None
        return {
            each.name: np.frombuffer(payload, each.dtype, SECONDS * each.width, self.starts[each.name]).reshape(
                SECONDS, each.width
            )
            for each in self.features
        }
