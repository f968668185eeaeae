"""State: all that an optimizer step changes, as whole float32 tensors in safetensors: no pickles, no number of ranks.

    engine/00000.safetensors   <parameter>/{weight,exp_avg,exp_avg_sq}, and how many steps AdamW has taken

A rank writes the parameters that fall to it, and reads them all: so any number of ranks at any ZeRO stage and
precision goes on from what any other wrote. The weights are the masters that the optimizer moves; parameters of a lower
precision are rounded from them, as DeepSpeed rounds them after every step.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from launch.atomic import whole_file
from launch.world import World

MOMENTS = ("exp_avg", "exp_avg_sq")
WEIGHT, STEP = "weight", "step"


def save_state(engine: Any, model: nn.Module, folder: Path, world: World) -> None:
    """Writes the state of a DeepSpeed engine with a torch AdamW; collective."""
    _complete(engine)
    mine = _shares(dict(model.named_parameters()), world.size)[world.rank]
    share: dict[str, Tensor] = {}
    for name, parameter in model.named_parameters():
        for kind in (WEIGHT, *MOMENTS):
            whole = _read(engine, parameter, kind)
            if name in mine:
                share[f"{name}/{kind}"] = whole.detach().to("cpu", copy=True).contiguous()
    with whole_file(folder / f"{world.rank:05d}.safetensors") as temporary:
        save_file(share, temporary, {STEP: str(_steps(engine))})


def state_size(model: nn.Module) -> int:
    """Bytes of the state on all ranks together; where ranks hold shares of a parameter, DeepSpeed knows its size."""
    return sum(getattr(each, "ds_numel", each.numel()) for each in model.parameters()) * 4 * (1 + len(MOMENTS))


def load_state(engine: Any, model: nn.Module, folder: Path) -> None:
    """Takes the state that `save_state` wrote, on any number of ranks; collective."""
    _complete(engine)
    with ExitStack() as opened:
        files = [opened.enter_context(safe_open(path, "pt")) for path in sorted(folder.glob("*.safetensors"))]
        of = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (it is no dictionary)
        for name, parameter in model.named_parameters():
            for kind in (WEIGHT, *MOMENTS):
                whole = of[f"{name}/{kind}"].get_tensor(f"{name}/{kind}").to(parameter.device)
                _write(engine, parameter, kind, whole)
        steps = int(files[0].metadata()[STEP])
    for state in _states(engine):
        state[STEP].fill_(steps)


def _shares(parameters: Mapping[str, nn.Parameter], ranks: int) -> list[set[str]]:
    """Which parameters each rank writes: the largest first, each to the rank that has least."""
    shares, sizes = [set[str]() for _ in range(ranks)], [0] * ranks
    for name, parameter in sorted(parameters.items(), key=lambda item: -_count(item[1])):
        least = sizes.index(min(sizes))
        shares[least].add(name)
        sizes[least] += _count(parameter)
    return shares


def _count(parameter: Any) -> int:
    """The number of weights of a parameter, also of one that ZeRO 3 has scattered."""
    return int(getattr(parameter, "ds_numel", None) or parameter.numel())


def _read(engine: Any, parameter: nn.Parameter, kind: str) -> Tensor:
    """One tensor of a parameter's state, whole, on every rank."""
    from deepspeed.utils import safe_get_full_fp32_param, safe_get_full_optimizer_state

    if engine.zero_optimization_stage() == 0:
        return parameter if kind == WEIGHT else engine.basic_optimizer.state[parameter][kind]
    if kind == WEIGHT:
        return safe_get_full_fp32_param(parameter)
    return safe_get_full_optimizer_state(parameter, kind)


def _write(engine: Any, parameter: nn.Parameter, kind: str, whole: Tensor) -> None:
    """Sets one tensor of a parameter's state; with the weight the parameter itself, rounded to its precision."""
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_set_full_fp32_param, safe_set_full_optimizer_state

    stage = engine.zero_optimization_stage()
    if kind == WEIGHT:
        with GatheredParameters([parameter], modifier_rank=0, enabled=stage == 3), torch.no_grad():
            parameter.copy_(whole)
    if stage == 0 and kind != WEIGHT:
        engine.basic_optimizer.state[parameter][kind].copy_(whole)
    elif stage == 3:
        _write_piece(parameter, kind, whole)
    elif stage > 0 and kind == WEIGHT:
        safe_set_full_fp32_param(parameter, whole)
    elif stage > 0:
        safe_set_full_optimizer_state(parameter, whole, kind)


def _write_piece(parameter: Any, kind: str, whole: Tensor) -> None:
    """Sets this rank's piece under ZeRO 3. DeepSpeed's setter of whole tensors reads past the end of those that the
    number of ranks does not divide (0.19.8), so the piece is cut here, with the padding that DeepSpeed gives the last.
    """
    from deepspeed.utils import safe_set_local_fp32_param, safe_set_local_optimizer_state

    size, rank = parameter.ds_tensor.numel(), torch.distributed.get_rank(parameter.ds_process_group)
    piece = torch.zeros(size, dtype=whole.dtype, device=whole.device)
    mine = whole.flatten()[size * rank : size * (rank + 1)]
    piece[: len(mine)] = mine
    if kind == WEIGHT:
        safe_set_local_fp32_param(parameter, piece)
    else:
        safe_set_local_optimizer_state(parameter, piece, kind)


def _complete(engine: Any) -> None:
    """Gives AdamW the state it makes at its first step, and lets every parameter know its place in it."""
    from deepspeed.utils import lazy_init_hp_params_optimizer_state

    optimizer = engine.basic_optimizer
    for flat in _moved(engine):
        if not optimizer.state[flat]:
            optimizer.state[flat] = {STEP: torch.zeros(()), **{each: torch.zeros_like(flat) for each in MOMENTS}}
    for parameter in engine.module.parameters():
        place = getattr(parameter, "_hp_mapping", None)
        if place is not None:
            (flat,) = optimizer.param_groups[place.param_group_index]["params"]
            lazy_init_hp_params_optimizer_state([parameter], flat, optimizer.state)


def _moved(engine: Any) -> Iterator[Tensor]:
    """The tensors that AdamW moves on this rank: parameters (ZeRO 0), or flat pieces of many."""
    if engine.zero_optimization_stage() == 3:
        yield from engine.optimizer.fp32_partitioned_groups_flat
    else:
        yield from (each for group in engine.basic_optimizer.param_groups for each in group["params"])


def _states(engine: Any) -> Iterator[dict[str, Tensor]]:
    return (engine.basic_optimizer.state[moved] for moved in _moved(engine))


def _steps(engine: Any) -> int:
    return max(int(state[STEP]) for state in _states(engine))
