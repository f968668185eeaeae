"""The estimate of memory: near what a run takes, and following the settings that are there to lower it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from pretrain.batches import BatchSettings
from pretrain.engine.memory import BUCKET, memory, parameters
from pretrain.engine.settings import EngineSettings
from pretrain.loss.contrast import LossSettings
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 128, "resnet152": 2048, "r2plus1d_18": 512}
MODEL = ModelSettings(layers=4, width=512, heads=8)
TRIAL = Path(__file__).parent / "memory_trial.py"
GIB = 2**30


def estimate(ranks: int = 1, device: str = "cpu", **given: Any) -> Any:
    parts = {"engine": EngineSettings(), "batches": BatchSettings(), "loss": LossSettings()} | given
    return memory(MODEL, WIDTHS, parts["engine"], parts["batches"], parts["loss"], ranks, device)


def test_a_run_takes_what_was_estimated_within_a_quarter() -> None:
    """Of two runs one has its peak when the optimizer steps, one when the backward pass begins.

    Over all ZeRO stages, both precisions, one and two ranks the estimate was 0.89 to 1.22 of what was measured.
    """
    model = MODEL.model_dump()
    runs = [{"model": model, "batches": {"global_batch": videos}} for videos in (4, 96)]
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, str(TRIAL), json.dumps(runs)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    small, large = json.loads(done.stdout.splitlines()[-1])
    assert small[1] == pytest.approx(small[0], rel=0.25)
    assert large[1] == pytest.approx(large[0], rel=0.25)
    assert large[0] > small[0] + 100 * 2**20, "the second run has its peak elsewhere"


def test_parameters_are_those_of_the_encoder() -> None:
    assert parameters(MODEL, WIDTHS) == sum(each.numel() for each in Transformer(MODEL, WIDTHS).parameters())


def test_each_stage_of_zero_takes_no_more_than_the_one_before_what_it_splits() -> None:
    found = [estimate(ranks=8, engine=EngineSettings(zero_stage=stage)) for stage in (0, 1, 2)]
    assert found[1].optimizer == pytest.approx(found[0].optimizer * 1.5 / 8)
    assert found[2].optimizer == found[1].optimizer
    assert found[1].peak < found[0].peak


def test_parts_and_recomputing_lower_what_the_backward_pass_keeps() -> None:
    whole = estimate().activations
    assert estimate(batches=BatchSettings(micro_batch=32)).activations < whole / 6
    assert estimate(engine=EngineSettings(recompute=True)).activations < whole / 2
    assert estimate(ranks=4).activations == pytest.approx(whole / 4)


def test_half_the_precision_halves_weights_and_activations() -> None:
    full, half = estimate(), estimate(engine=EngineSettings(precision="bf16"))
    assert half.weights == full.weights / 2
    assert half.activations < 0.65 * full.activations  # LayerNorm keeps its statistics in float32
    assert half.optimizer == full.optimizer


def test_a_gpu_takes_the_whole_bucket_of_deepspeed() -> None:
    assert estimate(device="cuda").gradients > 4 * BUCKET
    assert estimate(device="cpu").gradients < GIB


def test_the_loss_needs_all_rows_or_those_of_a_few_ranks() -> None:
    gathered = estimate(ranks=64, loss=LossSettings(exchange="gather"), batches=BatchSettings(global_batch=65536))
    passed_on = estimate(ranks=64, loss=LossSettings(exchange="ring"), batches=BatchSettings(global_batch=65536))
    rows = 20 * 65536 * MODEL.width * 4
    assert gathered.loss - passed_on.loss == pytest.approx(2 * rows - 3 * rows / 64)
