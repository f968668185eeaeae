"""VGGish: the published names and shapes, the order in which it flattens, and what it says of silence and of hops."""

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from shards.extract.networks import FeatureNetwork
from shards.extract.networks.log_mel import RATE, patches
from shards.extract.networks.vggish import PUBLISHED, Listening, Vggish, describe
from shards.extract.networks.weights import WeightSettings, read
from shards.extract.recipes import RecipeSettings
from shards.schema import Feature
from tests.shards.extract.networks.clips import heard, shapes_of, size_of

CONVOLUTIONS = {0: (64, 1), 3: (128, 64), 6: (256, 128), 8: (256, 256), 11: (512, 256), 13: (512, 512)}
"""Place among the release's layers → channels after, before."""
LINEAR = {0: (4096, 12288), 2: (4096, 4096), 4: (128, 4096)}
POOLED = (0, 3, 8, 13)
"""Convolutions after which the picture is halved."""


@pytest.fixture(scope="module")
def vggish(nothing_learned: WeightSettings) -> Vggish:
    return read(PUBLISHED, nothing_learned, Vggish).eval()


def test_its_parameters_have_the_names_and_shapes_of_the_release() -> None:
    published: dict[str, tuple[int, ...]] = {}
    for place, (after, before) in CONVOLUTIONS.items():
        published |= {f"features.{place}.weight": (after, before, 3, 3), f"features.{place}.bias": (after,)}
    for place, (after, before) in LINEAR.items():
        published |= {f"embeddings.{place}.weight": (after, before), f"embeddings.{place}.bias": (after,)}
    assert shapes_of(Vggish) == published
    assert size_of(Vggish) == 72_141_184


def test_it_computes_what_its_weights_say_flattening_time_then_band_then_channel(vggish: Vggish) -> None:
    heard_patch = torch.randn(1, 96, 64, generator=torch.Generator().manual_seed(0))
    state = vggish.state_dict()
    seen = heard_patch[:, None]
    for place in CONVOLUTIONS:
        seen = F.relu(F.conv2d(seen, state[f"features.{place}.weight"], state[f"features.{place}.bias"], padding=1))
        seen = F.max_pool2d(seen, 2) if place in POOLED else seen
    assert seen.shape == (1, 512, 6, 4)
    flat = torch.stack([seen[0, :, time, band] for time in range(6) for band in range(4)]).reshape(1, -1)
    for place in LINEAR:
        flat = F.relu(F.linear(flat, state[f"embeddings.{place}.weight"], state[f"embeddings.{place}.bias"]))
    with torch.inference_mode():
        torch.testing.assert_close(vggish(heard_patch), flat)


def test_the_raw_embedding_is_never_negative(llp_networks: dict[str, FeatureNetwork]) -> None:
    rows = llp_networks["vggish"].rows(heard(np.random.default_rng(0).normal(0, 0.1, 2 * RATE), RATE))
    assert rows.shape == (2, 128)
    assert rows.dtype == np.float32
    assert rows.min() == 0 < rows.max()


def test_a_silent_track_gives_every_second_what_the_network_says_of_silence(
    llp_networks: dict[str, FeatureNetwork], vggish: Vggish
) -> None:
    rows = llp_networks["vggish"].rows(heard(np.zeros(3 * RATE, np.float32), RATE))
    with torch.inference_mode():
        silence = vggish(torch.full((1, 96, 64), float(np.log(0.01)))).numpy()
    assert rows.any()
    np.testing.assert_allclose(rows, silence.repeat(3, axis=0), rtol=1e-4, atol=1e-5)


def test_a_row_of_hop_one_is_that_of_its_second_cut_out_of_the_sound(llp_networks: dict[str, FeatureNetwork]) -> None:
    sound, network = np.random.default_rng(3).normal(0, 0.1, 3 * RATE).astype(np.float32), llp_networks["vggish"]
    whole = network.rows(heard(sound, RATE))
    for second in range(3):
        alone = network.rows(heard(sound[second * RATE : (second + 1) * RATE], RATE))
        np.testing.assert_allclose(whole[second], alone[0], rtol=1e-4, atol=1e-5)


def test_the_published_hop_makes_ten_rows_of_the_first_ten_patches(vggish: Vggish) -> None:
    sound = np.random.default_rng(4).normal(0, 0.1, 10 * RATE).astype(np.float32)
    network = Listening(Feature("vggish", 128), vggish, 0.96, torch.device("cpu"), 64)
    with torch.inference_mode():
        expected = vggish(torch.from_numpy(patches(sound, [15360 * number for number in range(10)]))).numpy()
    np.testing.assert_allclose(network.rows(heard(sound, RATE)), expected, rtol=1e-4, atol=1e-5)


def test_the_variant_tells_the_hop_and_the_weights(nothing_learned: WeightSettings) -> None:
    assert describe(RecipeSettings(weights=nothing_learned))[0].variant == "raw, random weights"
    assert describe(RecipeSettings(hop=0.96, weights=nothing_learned))[0].variant == "raw, hop 0.96, random weights"
