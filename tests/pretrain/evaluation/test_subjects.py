"""Subjects: each sees the same videos in stored order, and its rows are what its own way makes of them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from launch.refusal import Refusal
from pretrain.evaluation.encode import embed
from pretrain.evaluation.health import Embedded
from pretrain.evaluation.leak import follows
from pretrain.evaluation.subjects import Seen, see, subjects
from pretrain.model import ModelSettings, Transformer
from shards.read import ReadSettings, Shards
from shards.schema import PRESENT, Feature, Video
from shards.write import Writer
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


LENGTHS = (10, 3, 7, 10, 1, 10, 10)


def write_short(folder: Path) -> Shards:
    """Videos of these lengths, and what packing leaves after their end: zeros."""
    draw = np.random.default_rng(0)
    with Writer(folder, [Feature(*one) for one in WIDTHS.items()], {}, 3) as writer:
        for number, length in enumerate(LENGTHS):
            there = np.arange(10)[:, None] < length
            rows = {name: draw.normal(size=(10, width)) * there for name, width in WIDTHS.items()}
            writer.add(Video(f"v{number}_5_{5 + length}", rows))
    return Shards.open(folder)


def test_a_short_video_is_seen_as_if_it_ended_where_it_does(tmp_path: Path) -> None:
    shards = write_short(tmp_path / "set")
    found, stored = seen(shards, batch=2), features(shards)
    for each in subjects(encoder(), 0):
        for video, length in enumerate(LENGTHS):
            cut = {name: array[[video], :length] for name, array in stored.items()}
            rows = found.rows[each.name]
            audio, visual = rows.audio[video], rows.visual[video]
            if each.encoder is not None:
                with torch.no_grad():
                    expected = [normalize(one[0], dim=-1) for one in each.encoder(cut)]
                torch.testing.assert_close(audio[:length], expected[0])
                torch.testing.assert_close(visual[:length], expected[1])
                assert not rows.audio_alone[video, length:].any()
            assert not audio[length:].any()
            by_hand = torch.cat((audio[:length].mean(0), visual[:length].mean(0)))
            torch.testing.assert_close(found.means[each.name][video], by_hand)
            assert rows.present is not None
            assert rows.present[video].tolist() == 2 * [[second < length for second in range(10)]]


def write_lacking(folder: Path) -> Shards:
    """Videos of which every third has no sound, with a set that says so, and noise where there is none."""
    draw = np.random.default_rng(0)
    with Writer(folder, [*(Feature(*one) for one in WIDTHS.items()), Feature(PRESENT, 2)], {}, 3) as writer:
        for number in range(7):
            present = np.ones((10, 2))
            present[:, 0] = number % 3 > 0
            rows = {name: draw.normal(size=(10, width)) for name, width in WIDTHS.items()}
            writer.add(Video(f"v{number}_0_10", rows | {PRESENT: present}))
    return Shards.open(folder)


def test_a_video_without_sound_is_seen_as_its_picture_alone(tmp_path: Path) -> None:
    shards = write_lacking(tmp_path / "set")
    found, stored = seen(shards, batch=2), features(shards)
    for name in NAMES:
        rows = found.rows[name]
        assert rows.present is not None
        assert rows.present.all(2).tolist() == [[number % 3 > 0, True] for number in range(7)]
        assert torch.equal(rows.visual[::3], rows.visual_alone[::3])
        assert not found.means[name][::3, : rows.audio.shape[-1]].any()
        torch.testing.assert_close(found.means[name][:, -rows.visual.shape[-1] :], rows.visual.mean(1))
    trained = subjects(encoder(), 0)[2]
    assert trained.encoder is not None
    whole = {name: array[[1, 2, 4, 5]] for name, array in stored.items()}
    assert trained.leak(shards) == pytest.approx(follows(trained.encoder, whole, ("vggish",)))


def test_a_modality_alone_knows_nothing_of_seconds_that_lack_it(planted: Planted) -> None:
    stored, present = features(Shards.open(planted.shards)), torch.ones(VIDEOS, 2, 10, dtype=torch.bool)
    present[:, 0, :4] = present[:, 1, 7:] = False
    spoilt = {name: array.clone() for name, array in stored.items()}
    for name, array in spoilt.items():
        array[~present[:, int(name != "vggish")]] = torch.nan
    with torch.no_grad():
        one, two = (embed(encoder(), given, present) for given in (stored, spoilt))
    for side in SIDES:
        assert torch.equal(getattr(one, side), getattr(two, side))
    assert not one.audio_alone[:, :4].any()
    assert not one.visual_alone[:, 7:].any()


def test_what_leaks_is_told_by_videos_that_have_all_seconds(tmp_path: Path) -> None:
    shards = write_short(tmp_path / "set")
    trained = subjects(encoder(), 0)[2]
    whole = [place for place, length in enumerate(LENGTHS) if length == 10]
    assert trained.encoder is not None
    expected = follows(trained.encoder, {n: a[whole] for n, a in features(shards).items()}, ("vggish",))
    assert trained.leak(shards) == pytest.approx(expected)


def test_where_no_video_has_all_seconds_nothing_is_told_of_a_leak(tmp_path: Path) -> None:
    with Writer(tmp_path / "set", [Feature(*one) for one in WIDTHS.items()], {}, 3) as writer:
        writer.add(Video("v_0_4", {name: np.zeros((10, width)) for name, width in WIDTHS.items()}))
    assert subjects(encoder(), 0)[2].leak(Shards.open(tmp_path / "set")) == {}
