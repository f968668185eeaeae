"""What runs say of the encoders that they read and make."""

from pathlib import Path

from launch.tracking import Thing
from pretrain.model import describe_encoder


def encoder_of(folder: Path) -> Thing:
    """The encoder in a folder, by its digest; raises Refusal when there is none."""
    return Thing("encoder", describe_encoder(folder).digest, folder)
