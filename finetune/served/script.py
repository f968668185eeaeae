"""The code that MLflow runs to make the model (models-from-code): there is no pickle to trust."""

from mlflow.models import set_model

from finetune.served.model import ServedParser

set_model(ServedParser())
