"""What a pre-training run says before its first step, from its settings and its world alone."""

import pytest
import torch

from launch.banner import Machines
from launch.pace import duration
from launch.settings import load
from launch.world import World
from pretrain.config import Config
from pretrain.engine.memory import memory
from pretrain.engine.speed import loss_flops, training_flops
from pretrain.outset import facts

WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512}
PLACES = ["--shards", "shards", "--components", "graph", "--out", "out"]
MACHINES = Machines(("node-a", "node-b"), (4, 4), "NVIDIA H200")


def said(monkeypatch: pytest.MonkeyPatch, *words: str) -> dict[str, str]:
    """The facts of a run on two hosts of four H200."""
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    config = load(Config, [], [*PLACES, *words], "test")
    world = World(0, 8, 0, torch.device("cuda", 0), 0)
    return facts(config, WIDTHS, range(20, 1000), 1000, MACHINES, world)


def test_the_batch_is_the_product_of_hosts_devices_and_videos(monkeypatch: pytest.MonkeyPatch) -> None:
    found = said(monkeypatch)
    assert found["devices"] == "2 hosts × 4 GPUs (NVIDIA H200): node-a, node-b"
    assert found["global batch"] == "256 videos = 2 hosts × 4 GPUs × 32"
    assert found["compared"] == "2,560 snippets, 5,120 rows, 26.2 M ordered pairs, mode multi"


def test_memory_is_told_as_an_estimate_with_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(Config, [], PLACES, "test")
    held = memory(config.model, WIDTHS, config.engine, config.batches, config.loss, 8, "cuda")
    found = said(monkeypatch)["memory"]
    assert found.startswith(f"about {held.peak / 2**30:.1f} GiB a rank at its peak, an estimate: weights ")


def test_what_zero_splits_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(monkeypatch)["ZeRO stage"] == "1: splits optimizer states over 8 ranks"
    assert said(monkeypatch, "--engine.zero_stage", "0")["ZeRO stage"] == "0: splits nothing"


def test_time_is_bounded_below_where_the_devices_speed_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    config = load(Config, [], PLACES, "test")
    step = 256 * training_flops(config.model, WIDTHS) + loss_flops(config.loss, 2560, config.model.width)
    found = said(monkeypatch)
    assert found["steps"] == f"20 to 1,000 of 1,000, {step / 1e12:.3g} TFLOP each"
    assert found["time"].startswith(f"at least {duration(980 * step / (8 * 67e12))}, were the devices used in full; ")
    assert found["time"].endswith("told again after the first steps")
