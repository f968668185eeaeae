"""A split is joined with its table by key, read once, and shuffled by seed and epoch alone."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch

from finetune.batches import Split, load_splits
from launch.refusal import Refusal
from shards.labels import CATEGORIES, Tables
from shards.read import ReadSettings, Shards
from shards.schema import Feature

CPU = torch.device("cpu")
NAMES = ("sound", "frames")


def load(corpus: Any, missing: Any = "refuse", folder: Any = None, names: Any = ("train",), **more: Any) -> list[Split]:
    tables = Tables.load(corpus.tables)
    return load_splits(folder or corpus.shards, tables, names, NAMES, missing, CPU, **more)


def test_rows_follow_the_table_though_the_shards_have_another_order(corpus: Any) -> None:
    (split,) = load(corpus)
    shards = Shards.open(corpus.shards / "train")
    assert split.keys == tuple(corpus.keys("train"))
    assert split.keys != shards.keys
    for row in (0, 7, 23):
        video = shards.read(shards.keys.index(split.keys[row]))
        for name in NAMES:
            assert np.array_equal(split.features[name][row].numpy(), video.features[name])
    tables = Tables.load(corpus.tables)
    assert np.array_equal(split.labels.numpy(), tables.weak_matrix(split.keys))


def test_features_stay_float16_in_memory_and_leave_as_float32(corpus: Any) -> None:
    (split,) = load(corpus)
    batch = split.batch(torch.tensor([3, 1]))
    features, labels = batch.features, batch.labels
    assert set(features) == set(NAMES)
    assert split.features["sound"].dtype == torch.float16
    assert features["sound"].dtype == torch.float32
    assert torch.equal(features["sound"], split.features["sound"][[3, 1]].float())
    assert torch.equal(labels, split.labels[[3, 1]])


def test_a_feature_stored_as_float32_stays_it(corpus: Any) -> None:
    wide = [Feature("sound", 6, dtype="float32"), Feature("frames", 10, dtype="float32")]
    folder = corpus.write_shards("wide", {"train": corpus.keys("train")}, wide, scale=1e6 / 16)
    (split,) = load(corpus, folder=folder)
    assert split.features["sound"].dtype == torch.float32
    assert split.features["sound"].abs().max() > 65_504


def test_every_video_comes_once_an_epoch_in_an_order_of_seed_and_epoch(corpus: Any) -> None:
    (split,) = load(corpus)

    def order(seed: int, epoch: int) -> list[int]:
        batches = list(split.shuffled(7, seed, epoch))
        assert [len(batch.labels) for batch in batches] == [7, 7, 7, 3]
        return [int(row) for batch in batches for row in batch.rows]

    assert sorted(order(0, 1)) == list(range(24))
    assert order(0, 1) == order(0, 1)
    assert order(0, 1) != order(0, 2)
    assert order(0, 1) != order(1, 1)
    assert split.steps(7) == 4
    whole, rest = list(split.shuffled(7, 0, 1)), list(split.shuffled(7, 0, 1, first=2))
    assert len(rest) == 2
    for one, two in zip(whole[2:], rest, strict=True):
        assert torch.equal(one.rows, two.rows)
        assert torch.equal(one.features["sound"], two.features["sound"])


def test_one_set_of_all_videos_serves_every_split(corpus: Any) -> None:
    every = [key for split in ("train", "validation", "test") for key in corpus.keys(split)]
    folder = corpus.write_shards("one", {"": every})
    train, test = load(corpus, folder=folder, names=("train", "test"))
    assert (train.keys, test.keys) == (tuple(corpus.keys("train")), tuple(corpus.keys("test")))


def test_missing_videos_are_refused_by_name_unless_skipped_then_counted(corpus: Any) -> None:
    folder = corpus.write_shards("part", {"train": corpus.keys("train")[2:]})
    with pytest.raises(Refusal, match=r"2 of 24 are not in .*tr000000000_0_10.*missing to 'skip'"):
        load(corpus, folder=folder)
    (split,) = load(corpus, "skip", folder)
    assert split.missing == tuple(corpus.keys("train")[:2])
    assert len(split) == 22
    assert "2 of the table skipped" in split.describe()


def test_categories_that_no_video_is_labelled_with_are_named(corpus: Any) -> None:
    (split,) = load(corpus)
    there = Tables.load(corpus.tables).weak_matrix(split.keys).any(axis=0)
    expected = tuple(name for name, some in zip(CATEGORIES, there, strict=True) if not some)
    assert 0 < len(expected) < 25
    assert split.never_labelled == expected
    assert split.describe().endswith(f"None of them is labelled {', '.join(expected)}.")
    full = dataclasses.replace(split, labels=torch.ones_like(split.labels))
    assert full.never_labelled == ()
    assert "None of them" not in full.describe()


def test_a_split_of_which_no_video_is_there_is_refused_even_when_skipping(corpus: Any) -> None:
    folder = corpus.write_shards("other", {"train": corpus.keys("test")})
    with pytest.raises(Refusal, match=r"24 of 24 are not in"):
        load(corpus, "skip", folder)


def test_a_split_of_which_every_video_is_bad_is_refused_with_the_first_fault(corpus: Any) -> None:
    keys = corpus.damage("train", *corpus.keys("train"))
    with pytest.raises(Refusal, match=rf"all 24 of train in '.*' are bad \(.*'({'|'.join(keys)})'.*\): pack again"):
        load(corpus, reading=ReadSettings(on_bad="skip"))


def test_a_missing_set_and_an_unknown_feature_are_refused_with_what_there_is(corpus: Any) -> None:
    folder = corpus.write_shards("part", {"train": corpus.keys("train")})
    with pytest.raises(Refusal, match=r"must have a set 'test', but .* has train"):
        load(corpus, folder=folder, names=("test",))
    with pytest.raises(Refusal, match=r"'pretrained_audio' is not in .* sound, frames, motion"):
        load_splits(folder, Tables.load(corpus.tables), ("train",), ("pretrained_audio",), "refuse", CPU)


@pytest.mark.parametrize(
    ("features", "source", "found"),
    [
        ([Feature("sound", 7, "raw"), Feature("frames", 10)], {}, "'sound' in .* has the width 7 where .* had 6"),
        ([Feature("sound", 6, "quantised"), Feature("frames", 10)], {}, "the variant 'quantised' where .* had 'raw'"),
        ([Feature("sound", 6, "raw"), Feature("frames", 10)], {"encoder": "beef"}, "the encoder 'beef' where"),
    ],
)
def test_splits_of_different_features_are_not_mixed(corpus: Any, features: Any, source: Any, found: str) -> None:
    folder = corpus.write_shards("mixed", {"train": corpus.keys("train")})
    corpus.write_shards("mixed", {"validation": corpus.keys("validation")}, features, source)
    with pytest.raises(Refusal, match=found):
        load(corpus, folder=folder, names=("train", "validation"))
