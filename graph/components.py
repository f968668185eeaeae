"""Components: for every snippet the number of its component. The file pre-training takes its positives from.

A graph folder is sealed by `graph.json`, written last: thresholds, counts, the shards' manifest digest, and the sha256
of every other file. `Components.load` believes nothing that the seal does not cover.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int64
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.read import Shards
from shards.schema import SECONDS

SEAL = "graph.json"
FILE = "components.safetensors"
FORMAT = "soundsight-graph-v1"


@dataclass(frozen=True)
class Components:
    """The component of every snippet of a shard set, and how it came about."""

    ids: Int64[np.ndarray, "video second"]
    """0, 1, 2, … by first appearance in stored order; a snippet without an edge has a component of its own."""
    keys: tuple[str, ...]
    """The videos' keys, in stored order."""
    manifest_digest: str
    """Of the shards the graph was built from."""
    thresholds: Mapping[str, float]
    """Cosine: {"audio": τ_audio, "visual": τ_visual}."""
    match: str = "any"
    """Whether similar means in `any` or in `all` modalities."""
    scope: str = "corpus"
    """Whether edges join snippets of the whole `corpus`, or of one `video` only."""

    def save(self, folder: Path) -> None:
        """Writes `components.safetensors` into a graph folder that is being built."""
        keys = np.frombuffer("\n".join(self.keys).encode(), np.uint8)  # a key holds no control character
        header = {"format": FORMAT, "manifest": self.manifest_digest, "match": self.match, "scope": self.scope}
        header |= {"thresholds": json.dumps(dict(self.thresholds))}
        (folder / FILE).write_bytes(save({"ids": self.ids, "keys": keys}, header))

    @classmethod
    def load(cls, folder: Path, shards: Shards) -> "Components":
        """The components of a graph folder, for the shards they were built from.

        Raises Refusal when the folder is no finished graph, when the graph belongs to another manifest, and when
        the file was altered or cut short since.
        """
        _, path = sealed(folder, FILE, shards)
        try:
            with safe_open(path, "np") as file:
                header, ids, names = file.metadata(), file.get_tensor("ids"), file.get_tensor("keys")
            keys, thresholds = tuple(names.tobytes().decode().split("\n")), json.loads(header["thresholds"])
        except (SafetensorError, KeyError, ValueError, TypeError) as error:
            raise Refusal(
                f"Components must hold ids, keys and thresholds, but '{path}' does not ({error}): build again."
            ) from None
        if ids.shape != (len(shards), SECONDS) or ids.dtype != np.int64 or keys != shards.keys:
            raise Refusal(
                f"Components must cover the shards video by video, but '{path}' holds {ids.dtype} ids of shape "
                f"{ids.shape} where '{shards.location}' has {len(shards)} videos: build the graph again."
            )
        return cls(ids, keys, header["manifest"], thresholds, header["match"], header["scope"])


def seal(folder: Path, facts: Mapping[str, Any]) -> None:
    """Writes `graph.json`: the facts, and the sha256 of every file that lies in the folder so far."""
    files = {path.name: sha256_file(path) for path in sorted(folder.iterdir()) if path.is_file() and path.name != SEAL}
    text = json.dumps({"format": FORMAT, **facts, "files": files}, indent=1, allow_nan=False)
    (folder / SEAL).write_text(text + "\n")


def sealed(folder: Path, name: str, shards: Shards) -> tuple[dict[str, Any], Path]:
    """The facts of a graph folder and the path of one of its files, both checked.

    Raises Refusal when the folder has no seal of this version, when it belongs to another manifest, and when the file
    is not the one that was sealed.
    """
    try:
        facts = json.loads((folder / SEAL).read_text())
        version, expected, built_from = facts["format"], facts["files"][name], facts["manifest"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refusal(
            f"A graph folder must hold {SEAL} with the checksum of '{name}', but '{folder}' does not ({error!r}): "
            "give the folder that the graph stage wrote."
        ) from None
    if version != FORMAT:
        raise Refusal(f"A graph must have format {FORMAT}, but '{folder}' has {version!r}: build it again.")
    if built_from != shards.manifest.digest:
        raise Refusal(
            f"A graph must be built from the shards in use, but '{folder}' was built from manifest {built_from[:12]} "
            f"and '{shards.location}' has {shards.manifest.digest[:12]}: build the graph of these shards."
        )
    path = folder / name
    if not path.is_file() or sha256_file(path) != expected:
        raise Refusal(
            f"A graph's files must be as they were written, but '{path}' is missing or was altered: "
            "copy it again, or build the graph again."
        )
    return facts, path
