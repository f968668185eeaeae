"""The engine: DeepSpeed around the encoder. With its state, the only files that import deepspeed.

The loss is one number of the whole global batch and a rank's gradient is that of its own rows, so parameter gradients
are summed over ranks, never averaged, at every ZeRO stage.
"""

import logging
import math
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.utils import clip_grad_norm_

from launch.world import World
from pretrain.engine.settings import EngineSettings
from pretrain.engine.state import load_state, save_state, state_size
from pretrain.model import Transformer


class Engine:
    """The encoder of a run, on this rank: embeds videos, takes steps, saves and loads its state.

    Every method is collective: all ranks call it, in the same order.
    """

    def __init__(self, model: Transformer, settings: EngineSettings, world: World) -> None:
        _prepare_deepspeed(world)
        import deepspeed

        self.settings, self.world, self.model = settings, world, model.to(world.device)
        self.model.recompute = settings.recompute
        self._norm = 0.0
        optimizer = torch.optim.AdamW(
            self.model.parameters(), settings.learning_rate, weight_decay=settings.weight_decay
        )
        if settings.zero_stage == 0:
            optimizer.register_step_pre_hook(self._clip)
        self._engine: Any = deepspeed.initialize(
            model=self.model, optimizer=optimizer, config=deepspeed_config(settings), dist_init_required=False
        )[0]

    def embed(
        self,
        features: Mapping[str, Float[Tensor, "video second feature"]],
        present: Bool[Tensor, "video modality second"] | None = None,
    ) -> tuple[Float[Tensor, "video second width"], Float[Tensor, "video second width"]]:
        """The audio and visual embeddings of this rank's videos, not normalised; dropout is on in training only.

        A rank without videos encodes a blank one and drops it: what ZeRO 3 gathers, and when, must not differ.
        """
        device, videos = self.world.device, len(next(iter(features.values())))
        if not videos:
            features = {name: array.new_zeros((1, *array.shape[1:])) for name, array in features.items()}
            present = None
        audio, visual = self._engine(
            {name: array.to(device, non_blocking=True) for name, array in features.items()},
            None if present is None else present.to(device),
        )
        return audio[:videos], visual[:videos]

    def backward(self, loss: Float[Tensor, ""]) -> None:
        """Adds the gradient of a loss of this rank's embeddings to what the next step takes; any number of times."""
        averaged = self.settings.zero_stage == 3  # the one stage at which DeepSpeed knows no sum
        self._engine.backward(loss * self.world.size if averaged else loss, scale_wrt_gas=False)

    def step(self, rate: float) -> float:
        """One optimizer step at a learning rate, on the sum over ranks of all gradients since the last; their norm.

        The norm is that before clipping. One that is not finite moves no weight and no state of the optimizer.
        """
        for group in self._engine.optimizer.param_groups:
            group["lr"] = rate
        self._engine.step()
        return self._norm if self.settings.zero_stage == 0 else float(self._engine.get_global_grad_norm())

    def _clip(self, optimizer: torch.optim.Optimizer, *_: Any) -> None:
        """What the other stages do inside DeepSpeed, which at stage 0 tells no norm and steps on any gradient."""
        self._norm = float(clip_grad_norm_(self.model.parameters(), self.settings.clip or math.inf))
        if not math.isfinite(self._norm):
            optimizer.zero_grad()

    def train(self, on: bool) -> None:
        """Turns dropout on or off."""
        self._engine.train(on)

    def save(self, folder: Path) -> None:
        """Writes parameters and the optimizer's state into a folder, whole; each rank a share of them."""
        save_state(self._engine, self.model, folder / "engine", self.world)

    def size(self) -> int:
        """Bytes that `save` writes, on all ranks together."""
        return state_size(self.model)

    def load(self, folder: Path) -> None:
        """Takes the state that `save` wrote, on any number of ranks and at any ZeRO stage."""
        load_state(self._engine, self.model, folder / "engine")

    def weights(self) -> dict[str, Tensor]:
        """Every parameter whole and on the CPU, on every rank."""
        from deepspeed.runtime.zero import GatheredParameters

        with GatheredParameters(list(self.model.parameters()), enabled=self.settings.zero_stage == 3):
            return {name: value.detach().float().cpu().clone() for name, value in self.model.state_dict().items()}


def deepspeed_config(settings: EngineSettings) -> dict[str, Any]:
    """The settings in DeepSpeed's words.

    DeepSpeed counts samples, while our global batches hold any number of videos a rank: its micro-batch of 1 is a
    placeholder that only has to agree with itself. Nor does it count backward passes: `step` ends an accumulation.
    """
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "managed_gradient_accumulation": False,
        "gradient_clipping": settings.clip if settings.zero_stage else 0.0,
        "steps_per_print": 10**12,
        "zero_optimization": {"stage": settings.zero_stage},
        "zero_allow_untested_optimizer": True,
    }
    if settings.zero_stage < 3:
        config["gradient_allreduce_op"] = "sum"
    if settings.precision == "bf16":
        config["bf16"] = {"enabled": True}
    return config


def _prepare_deepspeed(world: World) -> None:
    """Imports deepspeed quietly, with nothing left for it to compile.

    On a CPU DeepSpeed would compile its shared-memory all-reduce at its first start. Killed meanwhile, the compiler
    leaves a lock on which every later start waits for ever; gloo serves as well, so the op is declared absent, and
    with it every other, which also spares asking the compiler about each of them (0.19.8, measured 2026-11).
    """
    os.environ.setdefault("LOCAL_RANK", str(world.local_rank))  # asked for even where there is one process
    if world.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    deepspeed.ops.__compatible_ops__ = {"deepspeed_shm_comm": False}
    deepspeed.utils.logger.setLevel(logging.WARNING)
    warnings.filterwarnings("ignore", r"`torch\.distributed\.\w+` is deprecated", FutureWarning)
