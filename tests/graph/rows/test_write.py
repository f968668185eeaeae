"""What happens to rows on their way from the shards into a matrix."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from graph.rows.matrix import digests_of, header
from graph.rows.write import RowSettings, write_matrices
from launch.refusal import Refusal
from shards.read import Shards

DEQUANTISE = RowSettings(codes="dequantise")


def codes(videos: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (videos, 10, 128)).astype(np.float32)


def test_codes_are_read_back_as_the_values_they_stand_for(shard_set: Callable[..., Shards], tmp_path: Path) -> None:
    written = codes()
    matrix = write_matrices(shard_set({"vggish": written}), ["vggish"], tmp_path, DEQUANTISE)["vggish"]
    np.testing.assert_allclose(matrix.rows, written.reshape(40, 128) / 63.75 - 2, atol=1e-3)
    assert matrix.made == "dequantised from codes to -2..2"
    raw, read = written.reshape(40, 128), matrix.tile(np.arange(20), np.arange(20, 40))
    raw /= np.linalg.norm(raw, axis=1, keepdims=True)
    assert (raw[:20] @ raw[20:].T).mean() > 0.7  # unrelated rows of codes look alike …
    assert abs(read.mean()) < 0.05  # … and as values they do not


def test_a_row_of_zeros_among_codes_is_a_second_that_is_missing(
    shard_set: Callable[..., Shards], tmp_path: Path
) -> None:
    written = codes()
    written[1, 3:6] = 0
    matrix = write_matrices(shard_set({"vggish": written}), ["vggish"], tmp_path, DEQUANTISE)["vggish"]
    assert np.flatnonzero(matrix.zero).tolist() == [13, 14, 15]
    written[1:3] = 0
    with pytest.raises(Refusal, match=r"At most 20% .* 50\.0% \(20 of 40\)"):
        write_matrices(shard_set({"vggish": written}, "padded"), ["vggish"], tmp_path / "padded", DEQUANTISE)


def mute(videos: int, of: int) -> dict[str, np.ndarray]:
    """Videos of which the first so many have no sound: zeros, which `present` says mean nothing."""
    random = np.random.default_rng(0)
    arrays = {"vggish": random.normal(size=(of, 10, 8)), "resnet152": random.normal(size=(of, 10, 6))}
    arrays["present"] = np.ones((of, 10, 2))
    arrays["vggish"][:videos] = arrays["present"][:videos, :, 0] = 0
    return arrays


@pytest.mark.parametrize("videos", [3, 90, 100])
def test_rows_that_the_shards_say_are_absent_are_no_rows_without_a_signal(
    shard_set: Callable[..., Shards], tmp_path: Path, videos: int
) -> None:
    shards = shard_set(mute(videos, 100))
    found = write_matrices(shards, ["vggish", "resnet152"], tmp_path)
    assert np.array_equal(found["vggish"].zero, np.arange(1000) < 10 * videos)
    assert not found["resnet152"].zero.any()
    np.testing.assert_array_equal(
        load_file(tmp_path / "vggish.rows.safetensors")["digests"], digests_of(np.array(found["vggish"].rows))
    )


@pytest.mark.parametrize(
    ("name", "found"), [("vggish", r"42\.9% \(30 of 70\)"), ("resnet152", r"30\.0% \(30 of 100\)")]
)
def test_rows_without_a_signal_are_refused_beside_those_that_are_absent(
    shard_set: Callable[..., Shards], tmp_path: Path, name: str, found: str
) -> None:
    arrays = mute(3, 10)
    arrays[name][7:] = 0
    with pytest.raises(Refusal, match=rf"At most 20% .* {found}"):
        write_matrices(shard_set(arrays), [name], tmp_path)


def test_a_header_can_be_written_again_in_the_room_of_a_longer_one() -> None:
    for digits in range(70):
        longer = header(10, 4, {"absent": "9" * digits})
        assert len(header(10, 4, {"absent": ""}, least=len(longer))) == len(longer)


def test_values_that_are_no_codes_stay_as_they_are(shard_set: Callable[..., Shards], tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(size=(4, 10, 8)).astype(np.float16)
    matrix = write_matrices(shard_set({"vggish": values}), ["vggish"], tmp_path, DEQUANTISE)["vggish"]
    np.testing.assert_array_equal(matrix.rows, values.reshape(40, 8))
    assert matrix.made == "as stored"


@pytest.mark.parametrize("settings", [RowSettings(), DEQUANTISE])
def test_a_feature_that_holds_codes_in_its_later_videos_only_is_refused(
    shard_set: Callable[..., Shards], tmp_path: Path, settings: RowSettings
) -> None:
    mixed = codes(70)
    mixed[:65] = 0.5
    with pytest.raises(Refusal, match=r"everywhere or nowhere.*'vggish'") as refused:
        write_matrices(shard_set({"vggish": np.where(np.arange(70)[:, None, None] < 65, mixed * 0, mixed)}), ["vggish"],
                       tmp_path, settings)  # fmt: skip
    assert "pack what was extracted in one way" in str(refused.value)
    assert not (tmp_path / "vggish.rows.safetensors").exists()


def test_wide_rows_are_projected_above_a_number_of_snippets_and_cosines_stay(
    shard_set: Callable[..., Shards], tmp_path: Path
) -> None:
    random = np.random.default_rng(0)
    rows = np.abs(random.normal(size=(20, 1, 2048)) + 0.5 * random.normal(size=(20, 10, 2048)))
    shards = shard_set({"resnet152": rows, "vggish": rows[..., :128]})
    names = ["resnet152", "vggish"]
    whole = write_matrices(shards, names, tmp_path / "whole", RowSettings(project_above=200))
    less = write_matrices(shards, names, tmp_path / "less", RowSettings(project_above=199))
    assert [whole[name].width for name in names] == [2048, 128]
    assert [less[name].width for name in names] == [512, 128]
    assert less["resnet152"].made == "projected from 2048 to 512 numbers"
    every = np.arange(200)
    difference = less["resnet152"].tile(every, every) - whole["resnet152"].tile(every, every)
    assert np.abs(difference).max() < 6 * (1 - 0.7**2) / 512**0.5  # six deviations at the cosines there are
    np.testing.assert_array_equal(less["resnet152"].digests, whole["resnet152"].digests)


def test_the_projection_is_the_same_for_a_seed_and_another_for_another(
    shard_set: Callable[..., Shards], tmp_path: Path
) -> None:
    shards = shard_set({"resnet152": np.random.default_rng(0).normal(size=(3, 10, 64))})
    one, same, other = (
        write_matrices(shards, ["resnet152"], tmp_path / name, RowSettings(project_to=16, project_above=0, seed=seed))
        for name, seed in (("one", 0), ("same", 0), ("other", 1))
    )
    np.testing.assert_array_equal(one["resnet152"].rows, same["resnet152"].rows)
    assert not np.array_equal(one["resnet152"].rows, other["resnet152"].rows)


def test_what_projection_takes_beyond_float16_is_refused_by_video_and_second(
    shard_set: Callable[..., Shards], tmp_path: Path
) -> None:
    rows = np.random.default_rng(0).normal(size=(70, 10, 2048))
    rows[66, 4] = 3e4  # finite, but the length of 2,048 of them is 1.4e6
    shards = shard_set({"resnet152": rows})
    with pytest.raises(Refusal, match=r"'resnet152' of video 'video0066_0_10' .* second 4: projected from 2048 to 512"):
        write_matrices(shards, ["resnet152"], tmp_path / "less", RowSettings(project_above=0))
    whole = write_matrices(shards, ["resnet152"], tmp_path / "whole", RowSettings(project_to=0))
    assert np.isfinite(whole["resnet152"].rows).all()
