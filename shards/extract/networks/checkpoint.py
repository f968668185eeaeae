"""Checkpoints in Hugging Face's layout: a folder of a configuration and weights, on this machine already."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import constants, try_to_load_from_cache
from huggingface_hub.errors import HFValidationError
from torch import nn
from transformers.utils import logging

from launch.refusal import Refusal
from shards.extract.networks.weights import Found, Missing, WeightSettings, digest_of, drawn

CONFIGURATION = "config.json"
_KINDS = ("*.safetensors", "pytorch_model*.bin")
"""Files of weights; where the first kind is there the second is not read."""


def folder_of(network: str, settings: WeightSettings) -> Path | None:
    """Where the checkpoint of `clip` or `clap` is on this machine; None for random weights.

    Raises Refusal where it is missing, and the settings do not take random weights.
    """
    name: str = getattr(settings, network)
    if Path(name).is_dir():
        return _whole(Path(name), network)
    try:
        cached = try_to_load_from_cache(name, CONFIGURATION)
    except HFValidationError:
        cached = None
    if isinstance(cached, str):
        return _whole(Path(cached).parent, network)
    if settings.missing == "random":
        return None
    lack = (
        f"The weights of {network} must be on this machine, but '{name}' is neither a folder nor in Hugging Face's "
        f"cache ('{constants.HF_HUB_CACHE}'): download https://huggingface.co/{name} (hf download {name})."
    )
    raise Missing([lack], [f"--weights.{network}"])


def told(network: str, settings: WeightSettings) -> Found:
    """Which checkpoint `read` would take, by the sha256 of its weights; it always has a variant."""
    folder = folder_of(network, settings)
    if folder is None:
        return Found(None, "", False)
    digests = [digest_of(file) for file in _files(folder)]
    joined = digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    name = getattr(settings, network)
    return Found(Path(name).resolve().name if Path(name).is_dir() else name, joined, False)


def configuration(kind: Any, folder: Path, network: str) -> Any:
    """A transformers configuration, or extractor, that the folder holds. Raises Refusal where it is another's."""
    try:
        return kind.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _another(folder, network, _first_line(error)) from None


def read(kind: Any, config: Any, network: str, settings: WeightSettings) -> nn.Module:
    """The network of a transformers class with its weights, or random ones.

    Raises Refusal where the folder is another network's, or lacks weights of this one.
    """
    folder = folder_of(network, settings)
    if folder is None:
        return _random(kind(config), network)
    with _quiet():  # the text half of a checkpoint is left unread, on purpose
        try:
            module, report = kind.from_pretrained(folder, local_files_only=True, output_loading_info=True)
        except Exception as error:  # of a damaged file PyTorch raises whatever its bytes lead to
            raise _another(folder, network, _first_line(error)) from None
    lacking = sorted(str(name) for name in [*report["missing_keys"], *report["mismatched_keys"]])
    if lacking:
        raise _another(folder, network, f"it has no '{lacking[0]}' that fits")
    return module.float().requires_grad_(False)


def _random(module: nn.Module, network: str) -> nn.Module:
    """The network with random parameters, the same on every machine."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(drawn(network, name, tuple(parameter.shape)))
    return module.requires_grad_(False)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' warnings and bars."""
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()


def _whole(folder: Path, network: str) -> Path:
    if not (folder / CONFIGURATION).is_file() or not _files(folder):
        raise Refusal(
            f"A checkpoint's folder must hold {CONFIGURATION} and weights (model.safetensors), but '{folder}' "
            f"(--weights.{network}) lacks one of them: download it again, whole."
        )
    return folder


def _files(folder: Path) -> list[Path]:
    """Its files of weights that are read, in order of their names."""
    return next((found for kind in _KINDS if (found := sorted(folder.glob(kind)))), [])


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")


def _another(folder: Path, network: str, reason: str) -> Refusal:
    return Refusal(f"A checkpoint of {network} must hold that network, but '{folder}' does not: {reason}.")
