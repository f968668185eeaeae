"""Running networks: absent seconds are zeros, and neither batches nor neighbours change a clip's rows."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from shards.extract.decoding import Picture, Wanted
from shards.extract.networks import FeatureNetwork
from shards.extract.networks.network import Frames, Normalised, Stacks
from shards.extract.networks.weights import WeightSettings
from shards.extract.recipes import RecipeSettings, load, wanted
from shards.schema import MODALITIES, Feature
from tests.shards.extract.networks.clips import noise, seen

CPU = torch.device("cpu")
SMALL = Picture(4)


class Colours(nn.Module):
    """Averages everything but the colours, and remembers how many inputs it was given at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.given: list[int] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.given.append(len(pictures))
        return pictures.float().flatten(1, -2).mean(dim=1)


def frames(at_once: int, module: nn.Module | None = None, images: int = 8) -> Frames:
    return Frames(Feature("colours", 3), SMALL, module or Colours(), CPU, at_once, images)


def test_a_second_of_frames_is_the_average_over_its_eight() -> None:
    clip = noise(Wanted((SMALL,), ()), seconds=3)
    rows = frames(64).rows(clip)
    assert rows.dtype == np.float32
    for second in range(3):
        expected = clip.frames[SMALL][8 * second : 8 * second + 8].reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(rows[second], expected, rtol=1e-5)


@pytest.mark.parametrize(("images", "chosen"), [(1, [4]), (2, [2, 6]), (4, [1, 3, 5, 7]), (8, list(range(8)))])
def test_fewer_images_are_evenly_spread_over_their_second(images: int, chosen: list[int]) -> None:
    module, clip = Colours(), noise(Wanted((SMALL,), ()), seconds=2)
    rows = frames(64, module, images).rows(clip)
    assert module.given == [2 * images]
    for second in range(2):
        expected = clip.frames[SMALL][[8 * second + each for each in chosen]].reshape(-1, 3).mean(axis=0)
        np.testing.assert_allclose(rows[second], expected, rtol=1e-5)


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 10), st.integers(1, 100))
def test_no_pass_takes_more_than_it_may_and_none_is_lost(seconds: int, at_once: int) -> None:
    module, clip = Colours(), noise(Wanted((SMALL,), ()), seconds)
    rows = frames(at_once, module).rows(clip)
    assert max(module.given) <= at_once
    assert sum(module.given) == 8 * seconds
    np.testing.assert_allclose(rows, frames(1000).rows(clip), rtol=1e-5)


def test_stacks_are_of_eight_frames_and_a_pass_takes_one_even_if_fewer_are_allowed() -> None:
    module, clip = Colours(), noise(Wanted((SMALL,), ()), seconds=4)
    rows = Stacks(Feature("colours", 3), SMALL, module, CPU, 17).rows(clip)
    assert module.given == [2, 2]
    np.testing.assert_allclose(rows, frames(64).rows(clip), rtol=1e-5)
    few = Colours()
    Stacks(Feature("colours", 3), SMALL, few, CPU, 3).rows(clip)
    assert few.given == [1, 1, 1, 1]


@pytest.mark.parametrize("absent", [[0], [1, 3], [0, 1, 2, 3]])
def test_absent_seconds_are_zeros_and_are_not_looked_at(absent: Sequence[int]) -> None:
    module = Colours()
    places = [(MODALITIES.index("visual"), second) for second in absent]
    clip, whole = (noise(Wanted((SMALL,), ()), 4, absent=each) for each in (places, ()))
    rows = frames(64, module).rows(clip)
    assert not rows[list(absent)].any()
    assert sum(module.given) == 8 * (4 - len(absent))
    there = [second for second in range(4) if second not in absent]
    np.testing.assert_allclose(rows[there], frames(64).rows(whole)[there], rtol=1e-5)


def test_absent_sound_does_not_make_the_picture_absent() -> None:
    silent = noise(Wanted((SMALL,), ()), 2, absent=[(MODALITIES.index("audio"), 0), (MODALITIES.index("audio"), 1)])
    assert frames(64).rows(silent).all()


def test_pictures_are_scaled_as_the_training_did_and_their_colours_come_first() -> None:
    module = Normalised(nn.Identity(), (0.5, 0.25, 0.0), (0.5, 0.25, 1.0))
    pictures = torch.tensor([[[[255, 255, 255], [0, 0, 0]]]], dtype=torch.uint8)
    scaled = module(pictures)
    assert scaled.shape == (1, 3, 1, 2)
    torch.testing.assert_close(scaled[0, :, 0], torch.tensor([[1.0, -1.0], [3.0, -1.0], [1.0, 0.0]]))
    assert module(pictures[None].expand(2, 8, 1, 2, 3)).shape == (2, 3, 8, 1, 2)


def test_the_number_of_rows_a_pass_does_not_change_what_llps_networks_say(
    llp_networks: dict[str, FeatureNetwork], nothing_learned: WeightSettings
) -> None:
    few = load(RecipeSettings(weights=nothing_learned), CPU, rows=3)
    clip = noise(wanted(few), seconds=2, size=64)
    for network in few:
        at_once = llp_networks[network.feature.name].rows(clip)
        np.testing.assert_allclose(network.rows(clip), at_once, rtol=1e-3, atol=1e-4 * at_once.std())


def test_a_clip_says_the_same_after_any_other_clip(llp_networks: dict[str, FeatureNetwork]) -> None:
    for name in ("vggish", "r2plus1d_18"):
        network = llp_networks[name]
        clip, other = (noise(wanted([network]), seed=seed, size=64) for seed in (0, 1))
        first = network.rows(clip)
        assert not np.array_equal(network.rows(other), first)
        assert np.array_equal(network.rows(clip), first)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_gpu_says_what_the_cpu_says(llp_networks: dict[str, FeatureNetwork], nothing_learned: WeightSettings) -> None:
    for network in load(RecipeSettings(weights=nothing_learned), torch.device("cuda"), rows=64):
        clip = noise(wanted([network]))
        expected = llp_networks[network.feature.name].rows(clip)
        np.testing.assert_allclose(network.rows(clip), expected, rtol=1e-3, atol=1e-3 * expected.std())


def test_frames_of_another_size_are_not_taken_silently() -> None:
    with pytest.raises(KeyError):
        frames(64).rows(seen(np.zeros((8, 5, 5, 3), np.uint8), Picture(5)))
