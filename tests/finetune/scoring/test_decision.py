"""From probabilities to a parse by each gate, each threshold, and only in the seconds that exist."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from finetune.network.pooling import Parsed
from finetune.scoring.decision import Protocol, decide
from launch.refusal import Refusal


def parsed(video: list[float], audio: list[float], visual: list[float]) -> Parsed:
    """One video of two seconds and three categories; every second is positive in category 0 and 1, audio only in 2."""
    seconds = torch.tensor([[[[0.5, 0.9, 0.6], [0.5, 0.9, 0.4]]], [[[0.5, 0.9, 0.4], [0.5, 0.9, 0.4]]]])
    rows: list[Tensor] = [torch.tensor([values]) for values in (audio, visual, video)]
    return Parsed(seconds, *rows, torch.zeros(2, 1, 2, 4))


def test_the_threshold_itself_is_positive_in_seconds_and_in_the_gate() -> None:
    found = decide(parsed([0.5, 0.49, 1.0], [0, 0, 0], [0, 0, 0]), Protocol())
    assert found.shape == (2, 1, 3, 2)
    assert found[:, 0].tolist() == [
        [[True, True], [False] * 2, [True, False]],
        [[True, True], [False] * 2, [False] * 2],
    ]


def test_each_gate_asks_its_own_video_level_probability() -> None:
    example = parsed([0, 1, 0], [1, 0, 0], [0, 0, 0])
    positive = {
        gate: decide(example, Protocol(gate=gate))[:, 0, :2, 0].tolist() for gate in ("global", "per_modality", "none")
    }
    assert positive == {
        "global": [[False, True], [False, True]],
        "per_modality": [[True, False], [False, False]],
        "none": [[True, True], [True, True]],
    }


def test_the_gate_has_the_seconds_threshold_unless_it_has_its_own() -> None:
    example = parsed([0.3, 0.5, 0.7], [0] * 3, [0] * 3)
    for threshold, gate_threshold, opened in ((0.4, None, [0, 1, 1]), (0.4, 0.6, [0, 0, 1]), (0.4, 0.2, [1, 1, 1])):
        found = decide(example, Protocol(threshold=threshold, gate_threshold=gate_threshold))
        assert found[0, 0, :, 0].tolist() == [bool(each) for each in opened]


def test_thresholds_per_class_hold_each_modality_and_category_to_its_own() -> None:
    example, thresholds = parsed([1] * 3, [1] * 3, [1] * 3), torch.tensor([[0.5, 0.95, 0.0], [0.51, 0.9, 0.4]])
    found = decide(example, Protocol(thresholds="per_class"), thresholds)
    assert found[:, 0].tolist() == [
        [[True, True], [False, False], [True, True]],
        [[False, False], [True, True], [True, True]],
    ]


def test_one_threshold_for_all_classes_is_the_fixed_one() -> None:
    torch.manual_seed(0)
    example = Parsed(torch.rand(2, 4, 10, 25), *torch.rand(3, 4, 25), torch.zeros(2, 4, 10, 1))
    for gate in ("global", "per_modality", "none"):
        per_class = Protocol(gate=gate, thresholds="per_class", gate_threshold=0.5, threshold=0.3)
        assert torch.equal(decide(example, per_class, torch.full((2, 25), 0.3)), decide(example, per_class.fixed))


@pytest.mark.parametrize("gate", ["global", "per_modality", "none"])
def test_a_second_that_does_not_exist_is_never_positive(gate: str) -> None:
    example = parsed([1] * 3, [1] * 3, [1] * 3)
    short = dataclasses.replace(example, present=torch.tensor([[True, False]]))
    protocol = Protocol.model_validate({"gate": gate, "threshold": 0.0})
    assert decide(example, protocol).all()
    assert decide(short, protocol)[..., 0].all()
    assert not decide(short, protocol)[..., 1].any()


def test_the_parse_is_the_plain_rule_for_every_second() -> None:
    torch.manual_seed(1)
    example = Parsed(torch.rand(2, 3, 10, 5), *torch.rand(3, 3, 5), torch.zeros(2, 3, 10, 1))
    gates = {"global": torch.stack([example.video] * 2), "per_modality": torch.stack([example.audio, example.visual])}
    for gate, pooled in gates.items():
        found = decide(example, Protocol.model_validate({"gate": gate, "threshold": 0.4, "gate_threshold": 0.6}))
        for modality, video, category, second in np.ndindex(*found.shape):
            probability, opens = example.seconds[modality, video, second, category], pooled[modality, video, category]
            assert found[modality, video, category, second] == (probability >= 0.4 and opens >= 0.6)


def test_a_threshold_outside_zero_to_one_is_refused() -> None:
    with pytest.raises(Refusal, match="threshold"):
        Protocol(threshold=50)
    with pytest.raises(Refusal, match="gate_threshold"):
        Protocol(gate_threshold=-1)
