"""Export shows an encoder only the seconds that a set says are there, and says the same of its embeddings."""

from pathlib import Path

import numpy as np
import pytest
import torch

from launch.tracking import Tracking
from pretrain.export import EMBEDDINGS, Config, main
from pretrain.model import ModelSettings, Transformer, load_encoder, save_encoder
from shards.read import Shards
from shards.schema import PRESENT, Feature, Video
from shards.write import Writer

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
PATTERN = Feature(PRESENT, 2, "", "what the files hold")
KEYS = ("both_0_10", "mute_0_10", "dark_0_10", "short_0_7")


def presence() -> np.ndarray:
    """Of the four videos: everything; no audio; a picture from second 4 on; seven seconds."""
    present = np.ones((4, 10, 2), np.float32)
    present[1, :, 0] = present[2, :4, 1] = present[3, 7:] = 0
    return present


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory, runs: Path) -> tuple[Shards, Shards, Transformer]:
    """What was read, what was written, and the encoder between."""
    settings, folder = ModelSettings(layers=2, width=16, heads=2), tmp_path_factory.mktemp("embedded")
    save_encoder(folder / "encoder", Transformer(settings, WIDTHS).state_dict(), settings, WIDTHS, {})
    draw = np.random.default_rng(0)
    with Writer(folder / "shards", [*(Feature(*item) for item in WIDTHS.items()), PATTERN], {}) as writer:
        for key, present in zip(KEYS, presence(), strict=True):
            writer.add(Video(key, {n: draw.normal(size=(10, w)) for n, w in WIDTHS.items()} | {PRESENT: present}))
    out = folder / "out"
    main(Config(encoder=folder / "encoder", shards=str(folder / "shards"), out=out, tracking=Tracking(root=runs)))
    return Shards.open(folder / "shards"), Shards.open(out), load_encoder(folder / "encoder").eval()


def test_what_is_present_is_copied_as_it_was_read(embedded: tuple[Shards, Shards, Transformer]) -> None:
    _, found, _ = embedded
    assert list(found.manifest.features) == [*EMBEDDINGS, PRESENT]
    assert found.manifest.features[PRESENT] == PATTERN
    np.testing.assert_array_equal(found.batch(range(4), [PRESENT]).features[PRESENT], presence())


def test_an_absent_modality_embeds_as_zero_and_is_seen_by_no_other(
    embedded: tuple[Shards, Shards, Transformer],
) -> None:
    read, found, encoder = embedded
    features = {name: torch.from_numpy(array) for name, array in read.batch(range(4), list(WIDTHS)).features.items()}
    mask = torch.from_numpy(presence()).mT > 0
    with torch.no_grad():
        expected = encoder(features, mask)
    stored = found.batch(range(4), EMBEDDINGS).features
    for modality, (name, rows) in enumerate(zip(EMBEDDINGS, expected, strict=True)):
        np.testing.assert_allclose(stored[name], rows, rtol=2e-3, atol=2e-3)
        zero = np.abs(stored[name]).sum(2) == 0
        np.testing.assert_array_equal(zero, presence()[..., modality] == 0)
