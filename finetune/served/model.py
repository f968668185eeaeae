"""A parser as MLflow's pyfunc: loads the parser's own files, reads tensors by name, answers with parses."""

import json
from typing import Any

import numpy as np
import torch
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE
from mlflow.pyfunc import PythonModel, PythonModelContext

from finetune.parser import Parser
from finetune.scoring.decision import Protocol
from finetune.served.request import answer
from launch.refusal import Refusal

ARTIFACT = "parser"
"""The parser's folder among the model's artifacts."""
KEYS = "keys"
"""The parameter that names the videos."""


class Rejected(MlflowException):  # type: ignore[misc]  # mlflow is not read by mypy
    """A refusal as a server hands it back: status 400 and its sentence, without the request that MLflow puts before."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal), error_code=INVALID_PARAMETER_VALUE)
        self.sentence = str(refusal)

    def serialize_as_json(self) -> str:
        """The body of the answer."""
        return json.dumps({"error_code": self.error_code, "message": self.sentence})


class ServedParser(PythonModel):  # type: ignore[misc]
    """What MLflow loads. Nothing of it is pickled: the script beside makes it, and the weights are safetensors."""

    def load_context(self, context: PythonModelContext) -> None:
        """Loads the parser, and the protocol it was registered with (`model_config` may give another)."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.parser = Parser.from_pretrained(context.artifacts[ARTIFACT]).to(device)
        self.protocol = Protocol(**context.model_config)

    def predict(
        self, context: PythonModelContext, model_input: np.ndarray, params: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """One parse a video, as `finetune.served.request` describes; raises Rejected for a request that does not fit.

        `model_input` is a dict of arrays. MLflow takes other hints for a schema, which the model has, and warns.
        """
        try:
            return answer(self.parser, self.protocol, model_input, (params or {}).get(KEYS, ()))
        except Refusal as refusal:
            raise Rejected(refusal) from None
