"""Random numbers depend on their names alone, and have the distributions they claim."""

import numpy as np

from shards.planted.dice import Dice

GOLDEN_UNIFORM = 0.2859255537021025
GOLDEN_NORMALS = [[0.380126953125, -0.239013671875, -0.48193359375], [0.31689453125, 0.40380859375, -0.27734375]]


def test_the_same_names_give_the_same_numbers_and_others_give_others() -> None:
    first, again, other = Dice(1, "video", "k"), Dice(1, "video", "k"), Dice(1, "video", "l")
    assert [first.uniform() for _ in range(5)] == [again.uniform() for _ in range(5)]
    assert first.uniform() != other.uniform()
    assert Dice("1").uniform() != Dice(1).uniform()


def test_the_numbers_never_change() -> None:
    dice = Dice("golden")
    assert dice.uniform() == GOLDEN_UNIFORM
    assert dice.normals(2, 3).tolist() == GOLDEN_NORMALS


def test_normals_are_normal_and_integers_even() -> None:
    dice = Dice("distribution")
    normals = dice.normals(200_000)
    assert normals.dtype == np.float32
    assert abs(normals.mean()) < 0.01
    assert abs(normals.std() - 1) < 0.01
    assert abs(np.mean(np.abs(normals) < 1.96) - 0.95) < 0.003
    counts = np.bincount([dice.below(5) for _ in range(5000)], minlength=5)
    assert len(counts) == 5
    assert counts.min() > 900


def test_pick_follows_its_weights_and_never_takes_a_weight_of_zero() -> None:
    dice = Dice("weights")
    counts = np.bincount([dice.pick([0, 3, 0, 1]) for _ in range(4000)], minlength=4)
    assert counts[0] == counts[2] == 0
    assert abs(counts[1] / 4000 - 0.75) < 0.03


def test_no_normals_are_an_empty_array() -> None:
    assert Dice("none").normals(0, 7).shape == (0, 7)
