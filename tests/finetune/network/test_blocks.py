"""The two architectures equal their formulas, and share the weights they are said to share."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from finetune.network.attention import Attention
from finetune.network.blocks import Base, Block, Han, Projection

SHAPE = (16, 1, 12, 0.0)
"""Width, heads, hidden width, dropout."""


def streams() -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 3, 10, 16)


def attention(block: Block, source: str) -> Attention:
    found = block.attentions[source]
    assert isinstance(found, Attention)
    return found


def feed_forward(block: Block, attended: Tensor) -> Tensor:
    rows = block.norm_attended(attended)
    return block.norm_out(rows + block.contract(F.relu(block.expand(rows))))


@pytest.mark.parametrize("gcaa", [False, True])
@torch.no_grad()
def test_han_is_one_layer_that_reads_the_raw_inputs_in_both_directions(gcaa: bool) -> None:
    han, (audio, visual) = Han(*SHAPE, gcaa).eval(), streams()
    own, other = attention(han.block, "own"), attention(han.block, "other")
    expected = [feed_forward(han.block, x + own(x, x) + other(x, y)) for x, y in ((audio, visual), (visual, audio))]
    torch.testing.assert_close(han(streams()), torch.stack(expected))


@pytest.mark.parametrize("gcaa", [False, True])
@pytest.mark.parametrize("skip", [False, True])
@torch.no_grad()
def test_base_attends_to_itself_first_then_across_then_shares_a_linear(skip: bool, gcaa: bool) -> None:
    base, (audio, visual) = Base(*SHAPE, gcaa, skip).eval(), streams()
    audio, visual = (
        feed_forward(block, x + attention(block, "own")(x, x))
        for block, x in ((base.audio, audio), (base.visual, visual))
    )
    cross = attention(base.cross, "other")
    joint = [base.shared(feed_forward(base.cross, x + cross(x, y))) for x, y in ((audio, visual), (visual, audio))]
    if base.skip_norms is not None:
        joint = [norm(z + x) for norm, z, x in zip(base.skip_norms, joint, (audio, visual), strict=True)]
    torch.testing.assert_close(base(streams()), torch.stack(joint))
    assert (base.skip_norms is not None) == skip


@torch.no_grad()
def test_each_modality_has_self_attention_of_its_own_in_base_and_shares_it_in_han() -> None:
    swapped = streams().flip(0)
    han = Han(*SHAPE, False).eval()
    torch.testing.assert_close(han(swapped), han(streams()).flip(0))
    base = Base(*SHAPE, False, False).eval()
    assert (base(swapped) - base(streams()).flip(0)).abs().max() > 1e-2


@torch.no_grad()
def test_averaging_resnet_rows_before_the_linear_equals_averaging_after_it() -> None:
    torch.manual_seed(0)
    layer = Projection(["resnet152"], {"resnet152": 2048}, 512)
    rows = torch.randn(2, 10, 8, 2048).abs()
    before = layer({"resnet152": rows.mean(dim=2)})
    after = layer({"resnet152": rows.reshape(2, 80, 2048)}).reshape(2, 10, 8, 512).mean(dim=2)
    torch.testing.assert_close(before, after, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_hans_visual_projection_of_averaged_rows_is_the_average_of_its_projected_rows() -> None:
    torch.manual_seed(0)
    layer = Projection(["resnet152", "r2plus1d_18"], {"resnet152": 2048, "r2plus1d_18": 512}, 512)
    rows, motion = torch.randn(2, 80, 2048).abs(), torch.randn(2, 10, 512)
    each = torch.stack([layer.each[0](rows[:, at]) for at in range(80)], dim=1)
    averaged = torch.stack([each[:, 8 * second : 8 * second + 8].sum(dim=1) / 8 for second in range(10)], dim=1)
    expected = layer.fuse(torch.cat([averaged, layer.each[1](motion)], dim=-1))
    stored = {"resnet152": rows.reshape(2, 10, 8, 2048).mean(dim=2), "r2plus1d_18": motion}
    torch.testing.assert_close(layer(stored), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("gcaa", [False, True])
@pytest.mark.parametrize("trunk", ["han", "base", "skip"])
@torch.no_grad()
def test_absent_seconds_leave_the_others_as_if_they_were_cut(trunk: str, gcaa: bool) -> None:
    torch.manual_seed(0)
    network = (Han(*SHAPE, gcaa) if trunk == "han" else Base(*SHAPE, gcaa, trunk == "skip")).eval()
    lengths = (10, 6, 1)
    found = network(streams(), torch.arange(10) < torch.tensor(lengths)[:, None])
    for video, length in enumerate(lengths):
        cut = network(streams()[:, [video], :length])
        torch.testing.assert_close(found[:, [video], :length], cut)


@torch.no_grad()
def test_several_features_are_projected_joined_and_fused() -> None:
    torch.manual_seed(0)
    layer = Projection(["one", "two"], {"one": 3, "two": 5}, 4)
    features = {"one": torch.randn(2, 10, 3), "two": torch.randn(2, 10, 5), "third": torch.randn(1)}
    joined = torch.cat([layer.each[0](features["one"]), layer.each[1](features["two"])], dim=-1)
    torch.testing.assert_close(layer(features), layer.fuse(joined))
    assert len(list(Projection(["one"], {"one": 3}, 4).parameters())) == 2, "one feature alone needs one linear"
