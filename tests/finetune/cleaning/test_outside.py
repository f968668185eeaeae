"""Pseudo-labels of another model are read as their authors keep them, and nothing else is taken for them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from finetune.cleaning.outside import digest, labels_of, read_pseudo_labels
from launch.refusal import Refusal
from tests.finetune.cleaning.world import write_pseudo

KEYS = ("-one_0_10", "two_1.5_11.5")


def test_two_folders_of_arrays_are_read_by_the_videos_ids(tmp_path: Path) -> None:
    written = write_pseudo(tmp_path, KEYS)
    assert torch.equal(read_pseudo_labels(tmp_path, KEYS), written)
    assert torch.equal(read_pseudo_labels(tmp_path, KEYS[::-1]), written.flip(1))
    assert digest(written) != digest(written.flip(1))


def test_whole_numbers_and_booleans_are_labels_too(tmp_path: Path) -> None:
    write_pseudo(tmp_path, KEYS)
    np.save(tmp_path / "audio" / "two.npy", np.ones((10, 25), np.int64))
    np.save(tmp_path / "visual" / "two.npy", np.zeros((10, 25), bool))
    found = read_pseudo_labels(tmp_path, KEYS)
    assert (found[0, 1] == 1).all()
    assert (found[1, 1] == 0).all()


def test_a_modality_has_the_label_of_its_largest_second_where_the_video_is_labelled_so() -> None:
    seconds = torch.zeros(2, 1, 10, 3)
    seconds[0, 0, 4, 0], seconds[1, 0, :, 1] = 0.7, 1.0
    found = labels_of(seconds, torch.tensor([[1.0, 0.0, 1.0]]))
    torch.testing.assert_close(found, torch.tensor([[[0.7, 0.0, 1.0]], [[0.0, 0.0, 1.0]]]))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_pseudo(tmp_path, KEYS)
    (tmp_path / "visual" / "-one.npy").unlink()
    with pytest.raises(Refusal, match=r"Every training video must have pseudo-labels, but '.*visual/-one\.npy'"):
        read_pseudo_labels(tmp_path, KEYS)


@pytest.mark.parametrize(
    ("array", "found"),
    [
        (np.zeros((25, 10)), "holds 25 × 10"),
        (np.full((10, 25), 1.5), "values from 1.5 to 1.5"),
        (np.full((10, 25), np.nan), "values from nan"),
        (np.full((10, 25), "x"), "type <U1"),
        (np.empty((10, 25), object), "cannot be read"),
    ],
)
def test_an_array_that_is_none_is_refused(tmp_path: Path, array: np.ndarray, found: str) -> None:
    write_pseudo(tmp_path, KEYS)
    np.save(tmp_path / "audio" / "two.npy", array, allow_pickle=True)
    with pytest.raises(Refusal, match=found):
        read_pseudo_labels(tmp_path, KEYS)
