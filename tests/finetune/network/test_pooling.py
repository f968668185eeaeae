"""MMIL pooling equals a plain loop, is an average in each modality, and is clamped over both."""

import itertools
import math

import torch
from torch import Tensor, nn

from finetune.network.pooling import EDGE, Pooling


def softmax(values: list[float]) -> list[float]:
    powers = [math.exp(value) for value in values]
    return [power / sum(powers) for power in powers]


def example() -> tuple[Pooling, Tensor]:
    torch.manual_seed(0)
    pooling = Pooling(6, 3)
    for layer in (pooling.probability, pooling.over_time, pooling.over_modality):
        nn.init.normal_(layer.weight)
    return pooling, torch.randn(2, 4, 5, 6)


@torch.no_grad()
def test_pooling_equals_a_plain_loop_and_leaves_absent_seconds_out() -> None:
    pooling, joint = example()
    lengths = [5, 5, 3, 1]
    present = torch.arange(5) < torch.tensor(lengths)[:, None]
    found = pooling(joint, present)
    scores = [layer(joint).tolist() for layer in (pooling.probability, pooling.over_time, pooling.over_modality)]
    for video, length in enumerate(lengths):
        for category in range(3):
            p, t, m = ([[s[k][video][i][category] for i in range(length)] for k in (0, 1)] for s in scores)
            time = [softmax(row) for row in t]
            which = [softmax([m[0][i], m[1][i]]) for i in range(length)]
            each = [[time[k][i] / (1 + math.exp(-p[k][i])) for i in range(length)] for k in (0, 1)]
            both = sum(which[i][k] * each[k][i] for k in (0, 1) for i in range(length))
            assert math.isclose(found.audio[video, category], sum(each[0]), rel_tol=1e-5)
            assert math.isclose(found.visual[video, category], sum(each[1]), rel_tol=1e-5)
            assert math.isclose(found.video[video, category], min(both, 1 - EDGE), rel_tol=1e-5)


@torch.no_grad()
def test_without_absent_seconds_none_has_to_be_said() -> None:
    pooling, joint = example()
    whole = pooling(joint, torch.ones(4, 5, dtype=torch.bool))
    torch.testing.assert_close(pooling(joint).video, whole.video)


@torch.no_grad()
def test_a_video_probability_above_one_is_clamped() -> None:
    pooling = Pooling(2, 1)
    for layer in (pooling.probability, pooling.over_time, pooling.over_modality):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    pooling.probability.bias.fill_(10.0)
    pooling.over_time.weight.copy_(torch.tensor([[20.0, 0.0]]))
    pooling.over_modality.weight.copy_(torch.tensor([[20.0, 0.0]]))
    joint = torch.zeros(2, 1, 2, 2)
    joint[0, 0, 0, 0] = joint[1, 0, 1, 0] = 1.0  # audio rules second 0, visual second 1: the product sums to two
    found = pooling(joint)
    assert found.video.item() == torch.tensor(1 - EDGE).item()
    assert found.audio.item() < 1


@torch.no_grad()
def test_pooling_of_seconds_that_lack_a_modality_equals_a_plain_loop() -> None:
    pooling, joint = example()
    present = torch.ones(2, 4, 5, dtype=torch.bool)
    present[0, 0, 1] = present[1, 0, 3] = present[0, 1, :] = present[:, 2, 3:] = present[:, 3, :] = False
    found = pooling(joint, present)
    scores = [layer(joint).tolist() for layer in (pooling.probability, pooling.over_time, pooling.over_modality)]
    for video, category in itertools.product(range(4), range(3)):
        each, both = [0.0, 0.0], 0.0
        p, t, m = ([[s[k][video][i][category] for i in range(5)] for k in (0, 1)] for s in scores)
        for k in (0, 1):
            there = [i for i in range(5) if present[k, video, i]]
            for i, time in zip(there, softmax([t[k][i] for i in there]), strict=True):
                sides = [side for side in (0, 1) if present[side, video, i]]
                share = dict(zip(sides, softmax([m[side][i] for side in sides]), strict=True))[k]
                each[k] += time / (1 + math.exp(-p[k][i]))
                both += share * time / (1 + math.exp(-p[k][i]))
        for value, expected in zip((found.audio, found.visual, found.video), (*each, both), strict=True):
            assert math.isclose(value[video, category], min(max(expected, EDGE), 1 - EDGE), rel_tol=1e-5)


def test_what_is_absent_in_both_modalities_is_said_either_way_bit_for_bit() -> None:
    pooling, joint = example()
    present = torch.arange(5) < torch.tensor([5, 5, 3, 1])[:, None]
    found = []
    for said in (present, present.expand(2, -1, -1)):
        seen = joint.clone().requires_grad_()
        parsed = pooling(seen, said)
        (parsed.video.sum() + parsed.audio.prod() + parsed.visual.sum()).backward()
        grads = [seen.grad, *(parameter.grad.clone() for parameter in pooling.parameters())]
        pooling.zero_grad()
        found.append([parsed.audio, parsed.visual, parsed.video, *grads])
    assert all(torch.equal(*pair) for pair in zip(*found, strict=True))
    assert all(values.isfinite().all() for values in found[0])
