"""Labels go from the modality that fits them badly while the other fits, as many as the noise ratio says."""

import torch

from finetune.cleaning.denoise import Denoise
from finetune.cleaning.targets import Targets
from finetune.network.pooling import Parsed


def parsed(audio: list[float], visual: list[float]) -> Parsed:
    heard, seen = torch.tensor(audio)[:, None], torch.tensor(visual)[:, None]
    return Parsed(torch.rand(2, len(audio), 10, 1), heard, seen, heard, torch.zeros(2, len(audio), 10, 4))


LABELS = torch.tensor([[1.0], [1.0], [1.0], [1.0], [0.0]])
SEEN_BADLY = parsed([0.9, 0.9, 0.9, 0.9, 0.1], [0.9, 0.1, 0.8, 0.2, 0.1])
ROWS = torch.arange(5)


def test_nothing_goes_before_an_epoch_was_seen() -> None:
    denoise = Denoise(LABELS, torch.tensor([[0.0], [0.5]]))
    assert torch.equal(denoise.apply(Targets.weak(LABELS), SEEN_BADLY, ROWS).each, Targets.weak(LABELS).each)


def test_the_share_of_the_noise_ratio_goes_where_the_other_modality_fits_better() -> None:
    denoise = Denoise(LABELS, torch.tensor([[0.0], [0.5]]))
    denoise.apply(Targets.weak(LABELS), SEEN_BADLY, ROWS)
    denoise.end_epoch()
    found = denoise.apply(Targets.weak(LABELS), SEEN_BADLY, ROWS)
    assert found.each[1, :, 0].tolist() == [1, 0, 1, 0, 0]
    assert torch.equal(found.each[0], LABELS)
    assert torch.equal(found.video, LABELS)


def test_a_label_that_the_other_modality_fits_no_better_stays_whatever_the_ratio() -> None:
    denoise = Denoise(LABELS, torch.tensor([[1.0], [0.0]]))
    for _ in range(2):
        found = denoise.apply(Targets.weak(LABELS), SEEN_BADLY, ROWS)
        denoise.end_epoch()
    assert torch.equal(found.each[0], LABELS)


def test_its_state_can_be_taken_elsewhere() -> None:
    one, two = (Denoise(LABELS, torch.tensor([[0.0], [0.5]])) for _ in range(2))
    one.apply(Targets.weak(LABELS), SEEN_BADLY, ROWS)
    one.end_epoch()
    two.take({name: value.clone() for name, value in one.state().items()})
    assert torch.equal(two.excess, one.excess)
    assert torch.equal(two.limit, one.limit)
