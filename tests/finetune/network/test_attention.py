"""Both attentions equal a plain loop over heads and seconds, and every second attends for itself."""

import math

import pytest
import torch
from torch import Tensor, nn

from finetune.network.attention import Attention, GlobalContext

VARIANTS = [(1, False), (4, False), (1, True), (4, True)]
PRESENT = torch.tensor([[True] * 5, [True, True, True, False, False]])


def streams(seconds: int = 5) -> tuple[Tensor, Tensor]:
    torch.manual_seed(3)
    return torch.randn(2, seconds, 8), torch.randn(2, seconds, 8)


def linear(layer: nn.Module, row: Tensor) -> Tensor:
    assert isinstance(layer, nn.Linear)
    out = layer.weight @ row
    return out if layer.bias is None else out + layer.bias


def plain_blend(module: GlobalContext | None, rows: list[Tensor], stream: list[Tensor]) -> list[Tensor]:
    if module is None:
        return rows
    context = linear(module.context, sum(stream, torch.zeros(8)) / len(stream))
    blended = []
    for row in rows:
        share = torch.sigmoid(linear(module.local_share, row) + linear(module.global_share, context))
        blended.append((1 - share) * row + share * context)
    return blended


def plain_attention(attention: Attention, own: Tensor, other: Tensor, present: list[bool]) -> Tensor:
    """One video, absent seconds taken out of both streams before anything else."""
    mine = [row for row, there in zip(own, present, strict=True) if there]
    theirs = [row for row, there in zip(other, present, strict=True) if there]
    queries = plain_blend(attention.query_context, [linear(attention.query, row) for row in mine], mine)
    keys = plain_blend(attention.key_context, [linear(attention.key, row) for row in theirs], theirs)
    values = [linear(attention.value, row) for row in theirs]
    part, out = 8 // attention.heads, []
    for query in queries:
        joined = torch.zeros(8)
        for head in range(attention.heads):
            at = slice(head * part, (head + 1) * part)
            scores = [float(query[at] @ key[at]) / math.sqrt(part) for key in keys]
            total = sum(math.exp(score) for score in scores)
            for score, value in zip(scores, values, strict=True):
                joined[at] += math.exp(score) / total * value[at]
        out.append(linear(attention.out, joined))
    return torch.stack(out)


@pytest.mark.parametrize(("heads", "gcaa"), VARIANTS)
@torch.no_grad()
def test_attention_equals_a_plain_loop(heads: int, gcaa: bool) -> None:
    attention, (own, other) = Attention(8, heads, 0.0, gcaa).eval(), streams()
    for row, found in enumerate(attention(own, other)):
        torch.testing.assert_close(found, plain_attention(attention, own[row], other[row], [True] * 5))


@pytest.mark.parametrize(("heads", "gcaa"), VARIANTS)
@torch.no_grad()
def test_absent_seconds_are_as_if_they_were_cut_off(heads: int, gcaa: bool) -> None:
    attention, (own, other) = Attention(8, heads, 0.0, gcaa).eval(), streams()
    found = attention(own, other, PRESENT)
    torch.testing.assert_close(found[0], plain_attention(attention, own[0], other[0], [True] * 5))
    torch.testing.assert_close(found[1, :3], plain_attention(attention, own[1], other[1], PRESENT[1].tolist()))


@torch.no_grad()
def test_plain_attention_with_one_head_equals_torchs_own() -> None:
    attention, (own, other) = Attention(8, 1, 0.0).eval(), streams()
    theirs = nn.MultiheadAttention(8, 1, batch_first=True).eval()
    theirs.in_proj_weight.copy_(torch.cat([m.weight for m in (attention.query, attention.key, attention.value)]))
    theirs.in_proj_bias.copy_(torch.cat([m.bias for m in (attention.query, attention.key, attention.value)]))
    theirs.out_proj.load_state_dict(attention.out.state_dict())
    torch.testing.assert_close(attention(own, other), theirs(own, other, other)[0])


@pytest.mark.parametrize(("heads", "gcaa"), VARIANTS)
@torch.no_grad()
def test_every_second_attends_for_itself(heads: int, gcaa: bool) -> None:
    attention, (own, other) = Attention(8, heads, 0.0, gcaa).eval(), streams()
    found = attention(own, other)
    for video, masked in zip(found, attention(own, other, PRESENT), strict=True):
        for outputs in (video, masked):
            distances = torch.cdist(outputs, outputs) + torch.eye(5)
            assert (distances > 1e-4).all(), "some seconds were handed the same output"
    changed = own.clone()
    changed[:, 3] += 1
    moved = (attention(changed, other) - found).abs().amax(dim=(0, 2))
    assert moved[3] > 1e-3
    if not gcaa:
        assert moved[[0, 1, 2, 4]].max() < 1e-6  # with gcaa the others feel it through the context


@torch.no_grad()
def test_gcaa_differs_from_plain_attention_by_the_context_alone() -> None:
    attention, (own, other) = Attention(8, 1, 0.0, gcaa=True).eval(), streams()
    plain = Attention(8, 1, 0.0).eval()
    plain.load_state_dict(attention.state_dict(), strict=False)
    assert (attention(own, other) - plain(own, other)).abs().max() > 1e-3
    for blend in (attention.query_context, attention.key_context):
        assert blend is not None
        blend.local_share.bias.fill_(-100.0)  # a share of nothing: the local row alone
    torch.testing.assert_close(attention(own, other), plain(own, other))
