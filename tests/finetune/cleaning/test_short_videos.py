"""What lies beyond the end of a short video decides nothing that is wanted of it, nor of any other."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from finetune.batches import Split
from finetune.cleaning.cleaner import Cleaner, Cleaning
from finetune.cleaning.exchange import Exchange, Making, estimate
from finetune.losses import LossSettings, Objective
from tests.finetune.cleaning.world import COUNT, make_parser, world

VIDEOS = 12
OPTIONS = {
    "taught": {"average": 0.9, "seconds": "average", "seconds_from": 1},
    "told": {"pseudo": "p", "seconds": "pseudo", "labels": "pseudo"},
    "neither": {},
}


def short(beyond: float) -> Split:
    """Videos of one to ten seconds, with this value in every second that does not exist."""
    split, _ = world(VIDEOS)
    present = torch.arange(10) < torch.tensor([10, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 5])[:, None]
    features = {name: rows.masked_fill(~present[..., None], beyond) for name, rows in split.features.items()}
    return replace(split, features=features, present=present)


def outside(split: Split, beyond: float) -> torch.Tensor:
    """Random pseudo-labels, with this value where there is no second."""
    assert split.present is not None
    made = torch.rand(2, VIDEOS, 10, COUNT, generator=torch.Generator().manual_seed(1))
    return made.masked_fill(~split.present[..., None], beyond)


@pytest.mark.parametrize("mixup", [0.0, 1.0])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_it_touches_no_target_and_no_gradient(options: dict[str, Any], mixup: float) -> None:
    found = []
    for beyond in (0.0, 1.0):
        split = short(1e3 * beyond)
        torch.manual_seed(0)
        parser = make_parser()
        cleaner = Cleaner(Cleaning(**options, mixup=mixup), split, parser, outside(split, beyond))
        batch, targets = cleaner.targets(split.batch(torch.arange(VIDEOS)), epoch=1)
        parsed = parser(batch.features, batch.present)
        Objective(LossSettings(), 16, adversarial=False)(parsed, targets, 0.5)["loss"].backward()
        found.append([targets.each, targets.seconds, *(each.grad for each in parser.parameters())])
        if targets.seconds is not None:
            assert batch.present is not None
            assert (targets.seconds[:, ~batch.present] == 0).all()
    assert all(one is two or torch.equal(one, two) for one, two in zip(*found, strict=True))
    assert ("seconds" in options) == (found[0][1] is not None)


def test_a_pseudo_label_there_is_no_sign_of_a_modality() -> None:
    split = short(0.0)
    assert split.present is not None
    pseudo = torch.zeros(2, VIDEOS, 10, COUNT)
    pseudo[0, :, :, :] = (~split.present)[..., None].float()
    cleaner = Cleaner(Cleaning(pseudo="p", labels="pseudo"), split, make_parser(), pseudo)  # type: ignore[arg-type]
    assert torch.equal(cleaner.each, split.labels.expand(2, -1, -1))


def test_it_is_not_exchanged() -> None:
    one, two = (estimate(short(beyond), Making(make_parser), Exchange(batch=4), seed=0) for beyond in (0.0, 1e3))
    assert torch.equal(one, two)
