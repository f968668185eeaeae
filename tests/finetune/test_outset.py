"""What the training of a parser says before its first step."""

import torch

from finetune.batches import load_splits
from finetune.outset import told
from finetune.trainer import Trainer
from launch.world import World
from shards.labels import Tables
from tests.finetune.conftest import Corpus

CPU = torch.device("cpu")


def test_a_parser_is_told_by_its_size_its_options_and_its_steps(corpus: Corpus) -> None:
    config = corpus.training()
    features = config.parser.features
    train, validation = load_splits(
        corpus.shards, Tables.load(corpus.tables), ("train", "validation"), features, "refuse", CPU, config.reading
    )
    trainer = Trainer.new(config, train, CPU)
    lines = told("Training", trainer, train, validation, World.from_environment(0)).splitlines()
    found = dict(line.strip().split("  ", 1) for line in lines[1:])
    numbers = sum(each.numel() for each in trainer.parser.parameters())
    assert found["batch"].strip() == "8 videos"
    assert found["videos"].strip() == "24 to train on, 9 to choose the best epoch by"
    assert found["parameters"].strip() == f"{numbers:,}: base of width 16"
    assert found["steps"].strip() == "0 to 6, 3 an epoch"
    assert found["learning rate"].strip() == "0.003, × 0.5 every 5 epochs"
