"""Weights: which file a network's parameters come from, whether it is the published one, and what they are without it.

Nothing is downloaded: a file that is not there is named, with the place where it goes and where it is published.
"""

import hashlib
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file
from torch import Tensor, nn

from launch.digest import sha256_file
from launch.refusal import Refusal
from launch.settings import Settings

RANDOM = "random weights"
"""The variant of a feature that nothing was learned for."""
DIGITS = 8
"""Hexadecimal digits of a sha256 by which weights are named, as in the names of published files."""
CALM = 0.1
"""What random residual branches are scaled by at their end, so that a hundred of them in a row stay of one size."""
_LATE = "num_batches_tracked"
"""Counters that files of older versions of PyTorch do not have."""
M = TypeVar("M", bound=nn.Module)


class WeightSettings(Settings):
    """Where the networks' published weights are on this machine."""

    folder: Path | None = Field(
        None, description="folder of the published .pth files; none: PyTorch's cache ($TORCH_HOME/hub/checkpoints)"
    )
    vggish: Path | None = Field(None, description="file of VGGish's weights (.pth, .safetensors); none: in folder")
    resnet152: Path | None = Field(None, description="file of ResNet-152's weights; none: in folder")
    r2plus1d_18: Path | None = Field(None, description="file of R(2+1)D-18's weights; none: in folder")
    clip: str = Field(
        "openai/clip-vit-large-patch14", description="CLIP: a folder, or a name in Hugging Face's cache on this machine"
    )
    clap: str = Field(
        "laion/clap-htsat-fused", description="CLAP: a folder, or a name in Hugging Face's cache on this machine"
    )
    missing: Literal["refuse", "random"] = Field(
        "refuse", description="weights that are not here: refuse, or random ones, which shows the way but knows nothing"
    )


class Missing(Refusal):
    """Weights are not on this machine: others of the same recipe may be missing too."""

    def __init__(self, lacks: Sequence[str], places: Sequence[str]) -> None:
        """Sentences on what is missing, and the settings that name a place for it: the advice is given once."""
        self.lacks, self.places = tuple(lacks), tuple(dict.fromkeys(places))
        advice = (
            f"Or name another place ({', '.join(self.places)}), or let missing weights be random (--weights.missing "
            "random), which shows the way but knows nothing."
        )
        super().__init__("\n".join([*self.lacks, advice]))

    @classmethod
    def joined(cls, several: Sequence["Missing"]) -> "Missing":
        """All of them as one."""
        return cls(
            [lack for each in several for lack in each.lacks], [name for each in several for name in each.places]
        )


@dataclass(frozen=True)
class Published:
    """The public file of a network's weights."""

    network: str
    file: str
    """Its name, which ends in the beginning of its sha256."""
    url: str
    digests: tuple[str, ...]
    """How the sha256 of each file that holds these very weights begins."""
    older: tuple[str, ...] = ()
    """Names that the file has had before, and is looked for by."""
    closing: str = ""
    """A pattern of the parameters that end a residual branch, for random weights; empty: there are none."""


@dataclass(frozen=True)
class Found:
    """What a network's weights are: a file, of which only the name is told, or random numbers."""

    file: str | None
    digest: str
    published: bool

    @property
    def variant(self) -> str:
        """Empty for the published weights, so that features of both origins are one."""
        if self.file is None:
            return RANDOM
        return "" if self.published else f"weights {self.digest[:DIGITS]}"

    def __str__(self) -> str:
        return f"{RANDOM}: nothing was learned" if self.file is None else f"weights {self.file}, sha256 {self.digest}"


def told(published: Published, settings: WeightSettings) -> Found:
    """What `read` would take. Raises Refusal where the file is missing (Missing), or is not what its name says."""
    path = _find(published, settings)
    if path is None:
        return Found(None, "", False)
    digest = digest_of(path)
    named = path.stem.split("-")[-1]
    if path.name in (published.file, *published.older) and not digest.startswith(named):
        raise Refusal(
            f"The sha256 of a published file of weights must begin as its name says, but that of '{path}' begins with "
            f"{digest[:DIGITS]}, not {named}: it was damaged on its way; download {published.url} again."
        )
    return Found(path.name, digest, digest.startswith(published.digests))


def read(published: Published, settings: WeightSettings, build: Callable[[], M]) -> M:
    """The network that `build` makes, with its weights, on the CPU. Raises Refusal where they do not belong to it."""
    path = _find(published, settings)
    with torch.device("meta"):
        module = build()
    expected = module.state_dict()
    state = _random(published, module) if path is None else _fitting(_load(path), expected, path, published)
    module.load_state_dict({name: state[name].to(expected[name].dtype) for name in expected}, assign=True)
    return module.requires_grad_(False)


def digest_of(path: Path) -> str:
    """The sha256 of a file of weights; computed once while it stays as it is. Raises Refusal where it is unreadable."""
    try:
        stamp = path.stat()
        return _digest_of(path, stamp.st_size, stamp.st_mtime_ns)
    except OSError as error:
        raise Refusal(f"A file of weights must be readable, but '{path}' is not: {error.strerror}.") from None


@lru_cache(maxsize=64)
def _digest_of(path: Path, size: int, modified: int) -> str:
    return sha256_file(path)


def drawn(network: str, name: str, shape: tuple[int, ...], closing: str = "") -> Tensor:
    """A random parameter, the same on every machine: He's for ReLU, norms as identity, biases 0.

    Whole numbers are drawn and scaled, which no processor rounds differently.
    """
    if len(shape) < 2:
        calm = CALM if closing and re.search(closing, name) else 1.0
        return torch.full(shape, calm if name.endswith("weight") else 0.0)
    seed = int(hashlib.sha256(f"{network} {name}".encode()).hexdigest()[:16], 16)
    uniform = np.random.Generator(np.random.PCG64(seed)).random(shape, np.float32)
    bound = np.float32(np.sqrt(6 * shape[0] / np.prod(shape)))
    return torch.from_numpy((2 * uniform - 1) * bound)


def _find(published: Published, settings: WeightSettings) -> Path | None:
    """The file, or None for random weights; a path that the settings name must exist."""
    setting: Path | None = getattr(settings, published.network)
    if setting is not None:
        if not setting.is_file():
            raise Refusal(
                f"A file of weights that is named must exist, but '{setting}' (--weights.{published.network}) "
                f"does not: {published.file} is at {published.url}."
            )
        return setting
    folder = settings.folder or Path(torch.hub.get_dir()) / "checkpoints"
    for name in (published.file, *published.older):
        if (folder / name).is_file():
            return folder / name
    if settings.missing == "random":
        return None
    lack = (
        f"The weights of {published.network} must be on this machine, but '{folder / published.file}' is missing: "
        f"download {published.url} into that folder."
    )
    raise Missing([lack], ["--weights.folder", f"--weights.{published.network}"])


def _load(path: Path) -> Mapping[str, Tensor]:
    try:
        with warnings.catch_warnings(action="ignore"):
            safe = path.suffix == ".safetensors"
            state = load_file(path) if safe else torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a damaged file PyTorch raises whatever its bytes lead to
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise Refusal(
            f"A file of weights must be a .safetensors file, or a .pth file of tensors alone, but '{path}' is not "
            f"({reason[0].rstrip('.')}): download it again."
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise Refusal(
            f"A file of weights must hold tensors by name and nothing else, but '{path}' does not: save the network's "
            "state_dict() alone."
        )
    return state


def _fitting(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path, published: Published
) -> Mapping[str, Tensor]:
    """The state, where its names and shapes are the network's; counters that older files lack are 0."""
    late = {name: torch.zeros(()) for name in expected if name.endswith(_LATE)}
    complete = {**late, **state}
    faults = [
        *(f"it has no '{name}'" for name in expected if name not in complete),
        *(f"it has '{name}'" for name in complete if name not in expected),
        *(
            f"its '{name}' has the shape {tuple(complete[name].shape)}, not {tuple(tensor.shape)}"
            for name, tensor in expected.items()
            if name in complete and complete[name].shape != tensor.shape
        ),
    ]
    if faults:
        raise Refusal(
            f"Weights must be those of {published.network}, by the names and shapes of the published file, but "
            f"{faults[0]} ('{path}'): give the file from {published.url}."
        )
    return complete


def _random(published: Published, module: nn.Module) -> Mapping[str, Tensor]:
    parameters = {
        name: drawn(published.network, name, tuple(parameter.shape), published.closing)
        for name, parameter in module.named_parameters()
    }
    buffers = {
        name: torch.full(tuple(buffer.shape), 1.0 if name.endswith("running_var") else 0.0)
        for name, buffer in module.named_buffers()
    }
    return {**parameters, **buffers}
