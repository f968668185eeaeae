"""The folder of an MLflow model: script, parser, the code both need, signature, example, requirements."""

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import Array, Map, Object, Property

from finetune.parser import WEIGHTS, Parser
from finetune.scoring.decision import Protocol
from finetune.scoring.protocol import thresholds_of
from finetune.served.model import ARTIFACT, KEYS
from launch.digest import sha256_file
from shards.schema import SECONDS

CODE = ("launch", "shards", "pretrain", "finetune")
"""The packages that go along: they are on no index, and a name that is not ours there must not be installed."""
_HOUSE = Path(__file__).parents[2]
REQUIRED = ("jaxtyping", "mlflow", "numpy", "pydantic", "rich", "safetensors", "torch", "tyro", "webdataset", "xxhash")
"""What those packages need to serve a parser; pinned as they are installed here."""


def write_model(folder: Path, parser_folder: Path, protocol: Protocol) -> None:
    """Writes the MLflow model of a saved parser into a folder that does not exist yet.

    Raises Refusal for a parser that cannot be loaded, or that lacks the thresholds of the protocol.
    """
    parser = Parser.from_pretrained(parser_folder)
    thresholds_of(parser, protocol)
    logging.getLogger("mlflow.pyfunc").setLevel(logging.WARNING)
    mlflow.pyfunc.save_model(
        path=str(folder),
        python_model=str(Path(__file__).with_name("script.py")),
        artifacts={ARTIFACT: str(parser_folder)},
        code_paths=[str(_HOUSE / package) for package in CODE],
        signature=signature(parser),
        input_example=example(parser),
        pip_requirements=[f"{name}=={version(name).partition('+')[0]}" for name in REQUIRED],
        model_config=protocol.model_dump(mode="json"),
        metadata={"weights": sha256_file(parser_folder / WEIGHTS), "features": list(parser.widths)},
    )


def signature(parser: Parser) -> ModelSignature:
    """Tensors by the names of the parser's features, and keys, of any number of videos in; a parse a video out."""
    words, numbers = ("category", "modality"), ("onset", "offset")
    event = [Property(name, DataType.string) for name in words] + [Property(name, DataType.long) for name in numbers]
    outputs = [
        ColSpec(DataType.string, "key"),
        ColSpec(DataType.long, "seconds"),
        ColSpec(Array(Object([*event, Property("confidence", DataType.double)])), "events"),
        ColSpec(Map(Map(DataType.double)), "probabilities"),
    ]
    inputs = [TensorSpec(np.dtype(np.float32), (-1, SECONDS, width), name) for name, width in parser.widths.items()]
    keys = ParamSpec(KEYS, DataType.string, default=[], shape=(-1,))
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema([keys]))


def example(parser: Parser) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """A request of one silent video."""
    features = {name: np.zeros((1, SECONDS, width), np.float32) for name, width in parser.widths.items()}
    return features, {KEYS: ["example_0_10"]}
