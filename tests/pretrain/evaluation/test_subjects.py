"""Subjects: each sees the same videos in stored order, and its rows are what its own way makes of them."""

import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from launch.refusal import Refusal
from pretrain.evaluation.encode import embed
from pretrain.evaluation.health import Embedded
from pretrain.evaluation.subjects import Seen, see, subjects
from pretrain.model import ModelSettings, Transformer
from shards.read import ReadSettings, Shards
from tests.pretrain.conftest import VIDEOS, WIDTHS, Planted, damage

NAMES = ("raw features", "random encoder", "pre-trained encoder")
SIDES = ("audio", "visual", "audio_alone", "visual_alone")


def encoder(attention: str = "joint") -> Transformer:
    torch.manual_seed(5)
    return Transformer(ModelSettings(layers=2, width=16, heads=2, dropout=0.5, attention=attention), WIDTHS).eval()


def random_weights(seed: int) -> dict[str, Tensor]:
    """Of the encoder that was never trained."""
    random = {each.name: each.encoder for each in subjects(encoder(), seed)}["random encoder"]
    assert random is not None
    return random.state_dict()


def features(shards: Shards) -> dict[str, Tensor]:
    return {n: torch.from_numpy(a) for n, a in shards.batch(range(len(shards)), list(WIDTHS)).features.items()}


def seen(shards: Shards, batch: int = 9, keep_rows: bool = True) -> Seen:
    return see(shards, subjects(encoder(), 0), keep_rows, batch)


def test_raw_features_are_the_stored_ones_side_by_side(planted: Planted) -> None:
    shards = Shards.open(planted.shards)
    rows, stored = seen(shards).rows["raw features"], features(shards)
    assert torch.equal(rows.audio, stored["vggish"].float())
    assert torch.equal(rows.visual, torch.cat((stored["resnet152"], stored["r2plus1d_18"]), -1).float())


def test_the_trained_encoder_is_the_one_that_was_given_and_the_random_one_another_of_its_size(
    planted: Planted,
) -> None:
    shards, given = Shards.open(planted.shards), encoder()
    found = see(shards, subjects(given, 0), True, 9)
    with torch.no_grad():
        expected = [normalize(each, dim=-1) for each in given(features(shards))]
    torch.testing.assert_close(found.rows["pre-trained encoder"].audio, expected[0])
    torch.testing.assert_close(found.rows["pre-trained encoder"].visual, expected[1])
    shapes = [{name: each.shape for name, each in of.items()} for of in (random_weights(0), given.state_dict())]
    assert shapes[0] == shapes[1]
    assert not torch.allclose(found.rows["random encoder"].audio, expected[0], atol=0.01)


def test_the_random_encoder_is_a_function_of_the_seed_alone() -> None:
    torch.manual_seed(99)
    first = random_weights(3)
    torch.rand(7)
    second, other = random_weights(3), random_weights(4)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["second.weight"], other["second.weight"])


@pytest.mark.parametrize("batch", [1, 10, 1000])
def test_what_is_seen_does_not_depend_on_the_batch(planted: Planted, batch: int) -> None:
    shards = Shards.open(planted.shards)
    expected, found = seen(shards, VIDEOS), seen(shards, batch)
    assert found.keys == expected.keys == shards.keys
    for name in NAMES:
        torch.testing.assert_close(found.means[name], expected.means[name])
        for side in SIDES:
            torch.testing.assert_close(getattr(found.rows[name], side), getattr(expected.rows[name], side))


def test_a_mean_is_over_a_videos_seconds_audio_beside_visual(planted: Planted) -> None:
    found = seen(Shards.open(planted.shards))
    for name in NAMES:
        rows = found.rows[name]
        by_hand = [torch.cat((rows.audio[v].mean(0), rows.visual[v].mean(0))) for v in range(VIDEOS)]
        torch.testing.assert_close(found.means[name], torch.stack(by_hand))


def test_rows_are_kept_only_where_they_are_asked_for(planted: Planted) -> None:
    found = seen(Shards.open(planted.shards), keep_rows=False)
    assert found.rows == {}
    assert {name: len(each) for name, each in found.means.items()} == dict.fromkeys(NAMES, VIDEOS)


def test_a_modality_encoded_alone_knows_nothing_of_the_other(planted: Planted) -> None:
    stored, model = features(Shards.open(planted.shards)), encoder()

    def rows(given: dict[str, Tensor]) -> Embedded:
        with torch.no_grad():
            return embed(model, given)

    before = rows(stored)
    other_sound = rows(stored | {"vggish": stored["vggish"].flip(0)})
    assert torch.equal(before.visual_alone, other_sound.visual_alone)
    assert not torch.allclose(before.visual, other_sound.visual, atol=1e-3)
    other_picture = rows(stored | {"resnet152": stored["resnet152"].flip(0)})
    assert torch.equal(before.audio_alone, other_picture.audio_alone)
    assert not torch.allclose(before.audio, other_picture.audio, atol=1e-3)
    for side in SIDES:
        lengths = getattr(before, side).norm(dim=-1)
        torch.testing.assert_close(lengths, torch.ones_like(lengths))


def test_skipped_videos_are_missing_from_keys_and_rows_and_told(planted: Planted, tmp_path: Path) -> None:
    shutil.copytree(planted.shards, tmp_path / "set")
    bad = [damage(tmp_path / "set", f"video{number:03d}_0_10") for number in (0, 1, 2, 40)]  # the first a whole batch
    with pytest.raises(Refusal, match=bad[0]):
        seen(Shards.open(tmp_path / "set"), 3)
    found = seen(Shards.open(tmp_path / "set", ReadSettings(on_bad="skip")), 3)
    whole = seen(Shards.open(planted.shards), 3)
    kept = [place for place, key in enumerate(whole.keys) if key not in bad]
    assert found.keys == tuple(whole.keys[place] for place in kept)
    assert all(key in fault for key, fault in zip(bad, found.faults, strict=True))
    for name in NAMES:
        torch.testing.assert_close(found.rows[name].audio, whole.rows[name].audio[kept])
        torch.testing.assert_close(found.means[name], whole.means[name][kept])
