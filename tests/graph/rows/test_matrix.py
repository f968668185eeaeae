from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from graph.rows.matrix import Matrix, open_matrix
from graph.rows.write import write_matrices
from graph.search.copies import Copies
from launch.refusal import Refusal
from shards.read import Shards


def normal(videos: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(videos, 10, width))


def test_rows_come_in_stored_order_as_they_are_stored(shard_set: Callable[..., Shards], tmp_path: Path) -> None:
    shards = shard_set({"vggish": normal(16, 5), "other": normal(16, 3, 1)})
    matrices = write_matrices(shards, ["vggish", "other"], tmp_path)
    for name, matrix in matrices.items():
        expected = np.concatenate([shards.read(index).features[name] for index in range(16)])
        np.testing.assert_array_equal(matrix.rows, expected)
        assert matrix.rows.dtype == np.float16
        np.testing.assert_array_equal(load_file(tmp_path / f"{name}.rows.safetensors")["rows"], expected)


def test_unit_rows_have_length_one_in_float32_and_zero_rows_stay_zero(matrix_of: Callable[..., Matrix]) -> None:
    rows = np.random.default_rng(0).normal(size=(50, 7)) * 100
    rows[13] = 0
    unit = matrix_of(rows).unit(slice(None))
    assert unit.dtype == np.float32
    lengths = np.linalg.norm(unit, axis=1)
    assert lengths[13] == 0
    np.testing.assert_allclose(np.delete(lengths, 13), 1, atol=1e-6)


def test_pairs_and_tiles_give_the_same_cosines(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).normal(size=(60, 33)))
    first, second = np.arange(60), np.arange(60)[::-1]
    tile = matrix.tile(first, first)
    np.testing.assert_allclose(matrix.pairs(first, second), tile[first, second], atol=1e-6)


def test_centring_takes_out_the_direction_all_rows_share(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(np.random.default_rng(0).gamma(2, size=(500, 20)))
    plain, centred = (each.tile(np.arange(250), np.arange(250, 500)).mean() for each in (matrix, matrix.centred()))
    assert plain > 0.6
    assert abs(centred) < 0.05


def around(mean: np.ndarray, same: int) -> np.ndarray:
    """Thirty rows with exactly that mean; the first `same` of them are nothing else."""
    random = np.random.default_rng(0)
    apart = random.integers(1, 9, ((30 - same) // 2, len(mean)))
    return np.concatenate([np.tile(mean, (same, 1)), mean + apart, mean - apart])


def test_centring_leaves_rows_that_are_the_mean_itself_without_a_direction(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(around(np.arange(20) + 7, 6))
    assert not matrix.zero.any()
    centred = matrix.centred()
    np.testing.assert_array_equal(centred.zero, np.arange(30) < 6)
    assert not centred.unit(slice(6)).any()
    np.testing.assert_allclose(np.linalg.norm(centred.unit(slice(6, 30)), axis=1), 1, atol=1e-6)
    assert Copies.of(centred).count == 0  # or they would be joined at 1


def test_rows_of_which_too_many_are_nothing_but_their_mean_are_refused(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(around(np.arange(20) + 7, 8))
    with pytest.raises(Refusal, match=r"At most 20% .* 'rows' 26\.7% \(8 of 30\) .* set rows\.centre to False"):
        matrix.centred()


def test_it_is_told_whose_mean_was_taken_and_the_file_stays_as_it_was_made(matrix_of: Callable[..., Matrix]) -> None:
    matrix = matrix_of(around(np.arange(20) + 7, 6))
    assert matrix.told == "as stored"
    assert matrix.centred().told == "as stored, less their mean"
    assert matrix.centred(np.ones(20, np.float32)).told == "as stored, less the earlier graph's mean"
    assert matrix.centred().made == "as stored"  # a later graph must find its rows made alike, whosever mean


def test_zero_rows_are_found_and_more_than_a_fifth_are_refused(matrix_of: Callable[..., Matrix]) -> None:
    rows = np.ones((100, 4))
    rows[:20] = 0
    assert matrix_of(rows).zero.sum() == 20


def test_too_many_zero_rows_are_refused_with_their_share(matrix_of: Callable[..., Matrix], tmp_path: Path) -> None:
    rows = np.ones((100, 4))
    rows[:21] = 0
    with pytest.raises(Refusal, match=r"At most 20% .* 21\.0% \(21 of 100\)"):
        matrix_of(rows)
    assert not (tmp_path / "rows.rows.safetensors").exists()


def test_a_value_beyond_float16_is_refused_by_video_and_second(
    shard_set: Callable[..., Shards], tmp_path: Path
) -> None:
    rows = normal(3, 4)
    rows[1, 6, 2] = 1e6
    shards = shard_set({"other": normal(3, 4), "vggish": rows}, dtype="float32")
    with pytest.raises(Refusal, match="'vggish' of video 'video0001_0_10' is not in second 6"):
        write_matrices(shards, ["other", "vggish"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_what_is_not_a_number_is_refused_by_video_and_second(
    shard_set: Callable[..., Shards], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A packer refuses it too, but shards may be another program's."""
    rows = normal(3, 4)
    rows[2, 9, 0] = np.nan
    monkeypatch.setattr("shards.write.check_features", lambda video, features: None)
    shards = shard_set({"vggish": rows})
    with pytest.raises(Refusal, match=r"'vggish' of video 'video0002_0_10' is not in second 9: mend"):
        write_matrices(shards, ["vggish"], tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["shards"]


def test_quantised_codes_are_refused(shard_set: Callable[..., Shards], tmp_path: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (4, 10, 128)).astype(np.float32)
    with pytest.raises(Refusal, match="quantised codes"):
        write_matrices(shard_set({"vggish": codes}), ["vggish"], tmp_path)


def test_a_feature_that_says_it_is_quantised_is_refused(shard_set: Callable[..., Shards], tmp_path: Path) -> None:
    shards = shard_set({"vggish": normal(2, 4)}, variant="pca-quantised")
    with pytest.raises(Refusal, match="variant 'pca-quantised'"):
        write_matrices(shards, ["vggish"], tmp_path)


def test_an_unknown_feature_is_refused_with_those_there_are(shard_set: Callable[..., Shards], tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"'vgish' is not in .* vggish"):
        write_matrices(shard_set({"vggish": normal(2, 4)}), ["vgish"], tmp_path)


def test_another_manifests_rows_are_refused(matrix_of: Callable[..., Matrix], tmp_path: Path) -> None:
    matrix_of(np.ones((20, 4)))
    with pytest.raises(Refusal, match="another manifest"):
        open_matrix(tmp_path / "rows.rows.safetensors", "0" * 64)


def test_a_file_that_is_no_matrix_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m.safetensors").write_bytes(b"\x07")
    with pytest.raises(Refusal, match=r"must be a whole safetensors file .* delete it and build the graph again"):
        open_matrix(tmp_path / "m.safetensors", "")


@pytest.mark.parametrize("part", [0.5, 0.99])
def test_a_matrix_that_was_cut_short_is_refused(matrix_of: Callable[..., Matrix], tmp_path: Path, part: float) -> None:
    digest, path = matrix_of(normal(2, 6).reshape(20, 6)).manifest_digest, tmp_path / "rows.rows.safetensors"
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(Refusal, match=r"whole safetensors file .* 'rows' and 'digests'.* delete it and build"):
        open_matrix(cut, digest)


@pytest.mark.parametrize(
    ("change", "found"),
    [((b"[20, 6]", b"[20, 5]"), "20 rows of width 5 do not fill 240 bytes"),
     ((b"[20, 16]", b"[16, 20]"), r"20 rows have digests of shape \(16, 20\)")],
)  # fmt: skip
def test_a_matrix_whose_header_tells_another_width_is_refused(
    matrix_of: Callable[..., Matrix], tmp_path: Path, change: tuple[bytes, bytes], found: str
) -> None:
    digest, path = matrix_of(normal(2, 6).reshape(20, 6)).manifest_digest, tmp_path / "rows.rows.safetensors"
    other = tmp_path / "other.safetensors"
    other.write_bytes(path.read_bytes().replace(*change, 1))
    with pytest.raises(Refusal, match=rf"{found}.*delete it and build the graph again"):
        open_matrix(other, digest)


def test_exact_copies_have_equal_digests_and_only_they(matrix_of: Callable[..., Matrix]) -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6))
    rows[[7, 31]] = rows[3]
    digests = matrix_of(rows).digests
    assert len(np.unique(digests, axis=0)) == 38
    assert (digests[[7, 31]] == digests[3]).all()
