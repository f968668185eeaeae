"""One rank of a world: its rows' loss and gradients, and the encoder's gradients, for every mode and reduction,
with one component id a snippet and with two.

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
from pretrain.loss.pairs import Mode
from pretrain.model import ModelSettings, Transformer

WIDTHS = {"vggish": 5, "resnet152": 7, "r2plus1d_18": 3}


def main(case: Path, out: Path, bounds: list[int]) -> None:
    world = World.from_environment(seed=3)
    data, found = load_file(case), {}
    mine = slice(bounds[world.rank], bounds[world.rank + 1])
    audio, visual = data["audio"][mine].requires_grad_(), data["visual"][mine].requires_grad_()
    for mode, reduction, ways in itertools.product(get_args(Mode), ("balanced", "mean", "sum", "active"), (1, 2)):
        settings = LossSettings(mode=mode, reduction=reduction, tile=4)
        compared = contrast(audio, visual, data["ids"][mine, :ways], settings)
        gradients = torch.autograd.grad(compared.loss, (audio, visual))
        numbers = [compared.positives, compared.negatives, compared.positive_cosine, compared.negative_cosine]
        numbers += [compared.active_positives, compared.active_negatives]
        name = f"{mode}-{reduction}-{ways}"
        found |= {f"{name}-loss": compared.loss.detach(), f"{name}-numbers": torch.tensor(numbers).double()}
        found |= {f"{name}-audio": gradients[0], f"{name}-visual": gradients[1]}
    found |= encoder_gradients(data, world)
    save_file(
        {name: tensor.contiguous() for name, tensor in found.items()}, out / f"{world.size}-{world.rank}.safetensors"
    )
    world.close()


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
