"""Planted tables: a seeded part of given ones, or tables of their own in the same format."""

import hashlib

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.labels import SPLITS, Span, Tables
from shards.planted.tables import cast_split, cast_unlabelled, own_tables, real_tables
from shards.planted.timelines import Statistics
from shards.planted.world import CLASSES

GOLDEN = "8ca3019428d34808e9e8cf18dfb83e85b221c649babb293f5fb6426f700dc177"
SMALL = {"train": 40, "validation": 20, "test": 30}


@pytest.fixture(scope="module")
def statistics() -> Statistics:
    return Statistics.frozen()


@pytest.fixture(scope="module")
def tables(statistics: Statistics) -> Tables:
    return own_tables(statistics, SMALL, seed=1)


def test_own_tables_have_the_sizes_asked_for_and_read_back_the_same(tables: Tables, tmp_path) -> None:
    tables.write(tmp_path)
    again = Tables.load(tmp_path)
    assert {split: len(again.keys(split)) for split in SPLITS} == SMALL
    assert (again.weak, again.audio, again.visual) == (tables.weak, tables.audio, tables.visual)


def test_own_tables_are_llps_size_when_none_is_given(statistics: Statistics) -> None:
    sizes = {"train": 0, "validation": None, "test": 0}
    keys = own_tables(statistics, sizes, seed=1).keys("validation")
    assert len(set(keys)) == 649
    assert {len(key.rsplit("_", 2)[0]) for key in keys} == {11}


def test_the_dense_truth_of_own_tables_agrees_with_their_weak_labels(tables: Tables) -> None:
    keys = tables.keys("test")
    audio, visual = tables.truth(keys)
    assert np.array_equal((audio | visual).any(axis=2), tables.weak_matrix(keys))


def test_a_smaller_choice_lies_in_a_larger_and_in_the_tables_order(tables: Tables) -> None:
    few, more = (real_tables(tables, {"train": n, "validation": None, "test": 5}, seed=3) for n in (8, 20))
    assert set(few.keys("train")) < set(more.keys("train"))
    order = [key for key in tables.keys("train") if key in more.keys("train")]
    assert list(more.keys("train")) == order
    assert few.keys("validation") == tables.keys("validation")
    other = real_tables(tables, {"train": 8, "validation": 0, "test": 0}, seed=4)
    assert other.keys("train") != few.keys("train")


def test_more_videos_than_the_tables_have_are_refused(tables: Tables) -> None:
    with pytest.raises(Refusal, match="41 videos are asked for of split 'train', which has 40"):
        real_tables(tables, {"train": 41, "validation": None, "test": None}, seed=0)


def test_training_videos_get_a_truth_that_agrees_with_their_labels(tables: Tables, statistics: Statistics) -> None:
    casts = cast_split(tables, "train", statistics, seed=1)
    on = np.stack([(cast.parses["audio"] | cast.parses["visual"]).any(axis=1) for cast in casts])
    assert np.array_equal(on, tables.weak_matrix(tables.keys("train")))


def test_annotated_videos_keep_the_truth_of_their_tables(statistics: Statistics) -> None:
    tables = Tables({"train": {}, "validation": {}, "test": {"k_0_10": (3,)}}, {"k_0_10": (Span(3, 2, 4),)}, {})
    (cast,) = cast_split(tables, "test", statistics, seed=9)
    assert np.argwhere(cast.parses["audio"]).tolist() == [[3, 2], [3, 3]]
    assert not cast.parses["visual"].any()


def test_what_a_video_is_cast_as_does_not_depend_on_the_others(tables: Tables, statistics: Statistics) -> None:
    few = real_tables(tables, {"train": 8, "validation": 0, "test": 0}, seed=1)
    whole = {cast.key: cast for cast in cast_split(tables, "train", statistics, seed=1)}
    for cast in cast_split(few, "train", statistics, seed=1):
        assert cast.scene == whole[cast.key].scene
        assert all(np.array_equal(cast.parses[m], whole[cast.key].parses[m]) for m in cast.parses)


def test_unlabelled_videos_have_more_classes_and_meet_again_in_scenes() -> None:
    casts = [cast_unlabelled(0, number) for number in range(300)]
    heard = {int(category) for cast in casts for category in np.flatnonzero(cast.parses["audio"].any(axis=1))}
    assert casts[0].parses["audio"].shape == (CLASSES, 10)
    assert max(heard) > 40
    scenes = [cast.scene for cast in casts if cast.scene is not None]
    assert len(set(scenes)) < len(scenes)


def test_the_draws_of_tables_and_casts_are_frozen(tables: Tables, statistics: Statistics) -> None:
    """A change of any draw or statistic changes these: raise GENERATOR_VERSION with them, and calibrate again."""
    digest = hashlib.sha256()
    casts = cast_split(tables, "train", statistics, seed=1) + [cast_unlabelled(1, number) for number in range(20)]
    for cast in casts:
        digest.update(f"{cast.key} {cast.scene}".encode())
        for modality in ("audio", "visual"):
            digest.update(np.packbits(cast.parses[modality]).tobytes())
    assert digest.hexdigest() == GOLDEN
