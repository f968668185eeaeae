"""One rank of a world: its rows' loss and gradients, and the encoder's gradients, for every mode and reduction,
gathered and round a ring, with one component id a snippet and with two, with missing rows, and for drawn pairs.

    loss_worker.py CASE.safetensors OUT-FOLDER FIRST_ROW,FIRST_ROW,…

Rank r holds the snippets from the r-th first row to before the next.
"""

import itertools
import sys
from pathlib import Path
from typing import get_args

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch.nn.functional import normalize

from launch.world import World
from pretrain.loss.contrast import LossSettings, contrast
from pretrain.loss.exchange import blocks, introduce, sort_own
from pretrain.loss.pairs import Mode
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}


REDUCTIONS = ("balanced", "mean", "sum", "active")
CASES = [
    {"mode": mode, "reduction": reduction, "exchange": exchange, "pairs": pairs}
    for mode, reduction in itertools.product(get_args(Mode), REDUCTIONS)
    for exchange, pairs in (("gather", "all"), ("ring", "all"), ("auto", "sampled"))
]


def main(case: Path, out: Path, bounds: list[int]) -> None:
    world = World.from_environment(seed=3)
    data, found = load_file(case), {}
    mine = slice(bounds[world.rank], bounds[world.rank + 1])
    for told, ways in itertools.product(CASES, (1, 2)):
        settings = LossSettings.model_validate(told | {"tile": 4, "anchors": 5})
        present = data["present"][mine] if ways == 2 else None
        name = "-".join((*told.values(), str(ways)))
        found |= {f"{name}-{what}": value for what, value in compared(data, mine, ways, present, settings).items()}
    found |= encoder_gradients(data, world) | not_finite(data, mine) | nothing(data) | held(data, mine)
    save_file(
        {name: tensor.contiguous() for name, tensor in found.items()}, out / f"{world.size}-{world.rank}.safetensors"
    )
    world.close()


def compared(
    data: dict[str, torch.Tensor], mine: slice, ways: int, present: torch.Tensor | None, settings: LossSettings
) -> dict[str, torch.Tensor]:
    """What the loss of some of the rows gives this rank."""
    rows = [data[name][mine].clone().requires_grad_() for name in ("audio", "visual")]
    found = contrast(*rows, data["ids"][mine, :ways], settings, present, drawn_from=(0, 5))
    gradients = torch.autograd.grad(found.loss, rows)
    numbers = [found.positives, found.negatives, found.positive_cosine, found.negative_cosine]
    numbers += [found.active_positives, found.active_negatives]
    result = {"loss": found.loss.detach(), "numbers": torch.tensor(numbers).double()}
    return result | {"audio": gradients[0], "visual": gradients[1]}


def not_finite(data: dict[str, torch.Tensor], mine: slice) -> dict[str, torch.Tensor]:
    """The losses when the last snippet of all, which one rank holds, is not a number."""
    spoilt = data | {"audio": data["audio"].clone()}
    spoilt["audio"][-1, 2] = torch.nan
    losses = {}
    for exchange, pairs in (("gather", "all"), ("ring", "all"), ("auto", "sampled")):
        settings = LossSettings.model_validate({"exchange": exchange, "pairs": pairs, "anchors": 5})
        losses[f"spoilt-{exchange}"] = compared(spoilt, mine, 1, None, settings)["loss"]
    return losses


def nothing(data: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The losses when no rank has any snippet."""
    cases = (("gather", "all"), ("ring", "all"), ("auto", "sampled"))
    told = ({"exchange": exchange, "pairs": pairs} for exchange, pairs in cases)
    found = [compared(data, slice(0, 0), 2, None, LossSettings.model_validate(each))["loss"] for each in told]
    return {"empty": torch.stack(found)}


def held(data: dict[str, torch.Tensor], mine: slice) -> dict[str, torch.Tensor]:
    """How many blocks of rows come where all of them are to be gathered up to 0 MiB and up to 1."""
    snippets = introduce(data["ids"][mine])
    rows = sort_own([data["audio"][mine], data["visual"][mine]], snippets)
    return {f"blocks-{mib}": torch.tensor(len(list(blocks(rows, snippets, "auto", mib)))) for mib in (0, 1)}


def encoder_gradients(data: dict[str, torch.Tensor], world: World) -> dict[str, torch.Tensor]:
    """The gradients of the encoder, summed over ranks as the engine does; rank 0 of several has no video."""
    videos = len(data["vggish"])
    first = 0 if world.size == 1 else max(world.rank - 1, 0) * videos // (world.size - 1)
    last = videos if world.size == 1 else world.rank * videos // (world.size - 1)
    encoder = Transformer(ModelSettings(layers=2, width=8, heads=2, dropout=0), WIDTHS).double()
    audio, visual = encoder({name: data[name][first:last] for name in WIDTHS})
    rows = [normalize(each.flatten(0, 1), dim=-1) for each in (audio, visual)]
    contrast(rows[0], rows[1], data["video_ids"][first:last].flatten(0, 1), LossSettings()).loss.backward()
    gradients = {}
    for name, weight in encoder.named_parameters():
        assert weight.grad is not None
        dist.all_reduce(weight.grad)
        gradients[f"encoder-{name}"] = weight.grad
    return gradients


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(word) for word in sys.argv[3].split(",")])
