"""Videos to parse, from shards and from feature folders: the same values, and a sentence where they do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.parser import Parser, origin
from finetune.parses.of_folders import from_folders
from finetune.parses.of_shards import from_shards
from finetune.parses.videos import ALL, Few, Videos
from launch.refusal import Refusal
from shards.labels import Tables, feature_id
from shards.read import ReadSettings, Shards

STOP, SKIP = ReadSettings(), ReadSettings(on_bad="skip")


@pytest.fixture
def expected(corpus: Any) -> Any:
    folder = corpus.untrained()
    features, _ = origin(Parser.from_pretrained(folder), folder)
    return features


@pytest.fixture
def plain(expected: Any) -> Any:
    """What feature files of these names are: VGGish alone has variants that can be told."""
    return expected | {"sound": expected["sound"] | {"variant": ""}}


def read(videos: Videos, size: int = 4) -> list[Few]:
    return [videos.few(first, size) for first in range(0, len(videos.keys), size)]


def everything(videos: Videos) -> dict[str, dict[str, np.ndarray]]:
    return {
        key: {n: a[row] for n, a in few.features.items()} for few in read(videos) for row, key in enumerate(few.keys)
    }


def write_files(corpus: Any, keys: list[str], stem: Any = feature_id) -> Path:
    """The features of the test shards as .npy files, one folder a feature."""
    shards = Shards.open(corpus.shards / "test")
    for key in keys:
        for name, array in shards.read(shards.keys.index(key)).features.items():
            (corpus.work / "feats" / name).mkdir(parents=True, exist_ok=True)
            np.save(corpus.work / "feats" / name / f"{stem(key)}.npy", array)
    return corpus.work / "feats"


def test_all_sets_are_read_in_stored_order_and_a_named_one_alone(corpus: Any, expected: Any) -> None:
    found = from_shards(str(corpus.shards), expected, ALL, (), STOP)
    assert [videos.told()["set"] for videos in found] == ["test", "train", "validation"]
    assert [len(everything(videos)) for videos in found] == [11, 24, 9]
    (test,) = from_shards(str(corpus.shards), expected, ALL, ("test",), STOP)
    shards = Shards.open(corpus.shards / "test")
    assert test.keys == shards.keys
    arrays = everything(test)
    for place, key in enumerate(shards.keys):
        assert all((arrays[key][name] == shards.read(place).features[name]).all() for name in expected)
    (alone,) = from_shards(str(corpus.shards / "test"), expected, ALL, (), STOP)
    assert alone.keys == test.keys


def test_named_videos_are_read_in_the_order_they_are_named(corpus: Any, expected: Any) -> None:
    keys = [*corpus.keys("test")[3:0:-1], corpus.keys("train")[7]]
    test, train, validation = from_shards(str(corpus.shards), expected, keys, (), STOP)
    assert [*test.keys, *train.keys] == keys
    assert not validation.keys
    (whole,) = from_shards(str(corpus.shards), expected, ALL, ("test",), STOP)
    assert all((everything(whole)[key]["sound"] == values["sound"]).all() for key, values in everything(test).items())


def test_what_is_not_in_the_shards_is_refused_with_the_nearest_that_is(corpus: Any, expected: Any) -> None:
    place = str(corpus.shards)
    with pytest.raises(Refusal, match=r"'te000000001_0_1' is not in .*: did you mean 'te\d+_0_10'"):
        from_shards(place, expected, ["te000000001_0_1"], (), STOP)
    with pytest.raises(Refusal, match="is named twice"):
        from_shards(place, expected, corpus.keys("test")[:1] * 2, (), STOP)
    with pytest.raises(Refusal, match=r"'tests' is not in .*, which has 'test', 'train', 'validation'"):
        from_shards(place, expected, ALL, ("tests",), STOP)
    with pytest.raises(Refusal, match="which has one set without a name"):
        from_shards(f"{place}/test", expected, ALL, ("test",), STOP)


def test_a_video_of_two_sets_is_refused(corpus: Any, expected: Any) -> None:
    place = corpus.write_shards("doubled", {"one": corpus.keys("test"), "two": corpus.keys("test")[:1]})
    with pytest.raises(Refusal, match=rf"'{corpus.keys('test')[0]}' is in 'one' and 'two' of"):
        from_shards(str(place), expected, ALL, (), STOP)
    (one,) = from_shards(str(place), expected, ALL, ("one",), STOP)
    assert len(one.keys) == 11


def test_bad_videos_of_shards_stop_or_are_skipped_and_told(corpus: Any, expected: Any) -> None:
    (bad,) = corpus.damage("test", corpus.keys("test")[3])
    (videos,) = from_shards(str(corpus.shards), expected, ALL, ("test",), STOP)
    with pytest.raises(Refusal, match=bad):
        read(videos)
    (videos,) = from_shards(str(corpus.shards), expected, ALL, ("test",), SKIP)
    faults = [fault for few in read(videos) for fault in few.faults]
    assert len(faults) == 1
    assert bad in faults[0]
    assert everything(videos).keys() == set(corpus.keys("test")) - {bad}


def test_feature_files_give_what_shards_give(corpus: Any, expected: Any, plain: Any) -> None:
    keys = corpus.keys("test")
    parent = write_files(corpus, keys)
    (files,) = from_folders(parent, (), plain, ALL, None, STOP, "refuse")
    (shards,) = from_shards(str(corpus.shards), expected, ALL, ("test",), STOP)
    ours, theirs = everything(files), everything(shards)
    assert list(ours) == sorted(theirs)
    for key, features in theirs.items():
        for name, array in features.items():
            assert ours[key][name].dtype == array.dtype
            assert (ours[key][name] == array).all()
    assert list(files.told()["features"]) == list(expected)


def test_tables_give_feature_files_their_keys(corpus: Any, plain: Any) -> None:
    weak = {split: {} for split in ("train", "validation")} | {"test": {"clip_101.8_108.8": (3,), "gone_0_10": (1,)}}
    parent = write_files(corpus, corpus.keys("test")[:2])
    for folder in parent.iterdir():
        (folder / f"{feature_id(corpus.keys('test')[0])}.npy").rename(folder / "clip.npy")
    (videos,) = from_folders(parent, (), plain, ALL, Tables(weak, {}, {}), STOP, "refuse")
    assert videos.keys == ("clip_101.8_108.8",)
    assert set(everything(videos)) == {"clip_101.8_108.8"}
    (videos,) = from_folders(parent, (), plain, ALL, None, STOP, "refuse")
    assert videos.keys == ("clip_0_10", corpus.keys("test")[1])
    foreign = Tables(weak | {"test": {"gone_0_10": (1,)}}, {}, {})
    with pytest.raises(Refusal, match="they name none of those in"):
        from_folders(parent, (), plain, ALL, foreign, STOP, "refuse")


def test_only_the_parsers_own_folders_are_looked_into(corpus: Any, plain: Any) -> None:
    parent = write_files(corpus, corpus.keys("test")[:2])
    (parent / "foreign").mkdir()
    (parent / "foreign" / "x.npy").write_text("no array")
    (videos,) = from_folders(parent, (), plain, ALL, None, STOP, "refuse")
    assert len(everything(videos)) == 2


def test_missing_folders_are_refused_with_those_there_are(corpus: Any, plain: Any) -> None:
    parent = write_files(corpus, corpus.keys("test")[:2])
    (parent / "motion").rename(parent / "moves")
    with pytest.raises(Refusal, match=r"'motion' is not in .*, which has folders of \.npy files frames, moves, sound"):
        from_folders(parent, (), plain, ALL, None, STOP, "refuse")
    (corpus.work / "empty").mkdir()
    with pytest.raises(Refusal, match=r"'sound' is not in .*empty', which has no folder of \.npy files"):
        from_folders(corpus.work / "empty", (), plain, ALL, None, STOP, "refuse")


def test_feature_files_of_another_width_or_variant_are_refused(corpus: Any, expected: Any, plain: Any) -> None:
    parent = write_files(corpus, corpus.keys("test")[:1])
    with pytest.raises(Refusal, match=r"'sound' in .*feats' has the variant '' where its training had 'raw'"):
        from_folders(parent, (), expected, ALL, None, STOP, "refuse")
    for file in (parent / "frames").iterdir():
        np.save(file, np.ones((10, 7), np.float32))
    with pytest.raises(Refusal, match=r"'frames' in .*feats' has the width 7 where its training had 10"):
        from_folders(parent, (), plain, ALL, None, STOP, "refuse")


def test_a_video_without_one_of_its_files_is_refused_or_skipped(corpus: Any, plain: Any) -> None:
    keys = corpus.keys("test")[:3]
    parent = write_files(corpus, keys)
    lost = parent / "motion" / f"{feature_id(keys[1])}.npy"
    lost.unlink()
    with pytest.raises(Refusal, match=r"Every video must have every feature, but '.*motion.* is missing"):
        from_folders(parent, (), plain, ALL, None, STOP, "refuse")
    (videos,) = from_folders(parent, (), plain, ALL, None, STOP, "skip")
    assert list(videos.keys) == [keys[0], keys[2]]
    (videos,) = from_folders(parent, (), plain, keys[2:], None, STOP, "refuse")
    assert list(videos.keys) == keys[2:]
    with pytest.raises(Refusal, match=rf"'{keys[1]}' lacks '{lost}'"):
        from_folders(parent, (), plain, keys[1:2], None, STOP, "refuse")
    with pytest.raises(Refusal, match="'nobody_0_10' is not in"):
        from_folders(parent, (), plain, ["nobody_0_10"], None, STOP, "refuse")


@pytest.mark.parametrize("value", [np.nan, 1e6], ids=["nan", "too large for float16"])
def test_bad_feature_files_stop_or_are_skipped_and_told(corpus: Any, plain: Any, value: float) -> None:
    keys = corpus.keys("test")[:3]
    parent = write_files(corpus, keys)
    array = np.zeros((10, 6), np.float32)
    array[4, 2] = value
    np.save(parent / "sound" / f"{feature_id(keys[1])}.npy", array)
    (videos,) = from_folders(parent, (), plain, ALL, None, STOP, "refuse")
    with pytest.raises(Refusal, match=feature_id(keys[1])):
        read(videos)
    (videos,) = from_folders(parent, (), plain, ALL, None, SKIP, "refuse")
    assert list(everything(videos)) == [keys[0], keys[2]]
    assert len([fault for few in read(videos) for fault in few.faults]) == 1


def test_a_batch_of_only_bad_files_is_empty(corpus: Any, plain: Any) -> None:
    parent = write_files(corpus, corpus.keys("test")[:3])
    for file in (parent / "sound").iterdir():
        file.write_bytes(b"no array")
    with pytest.raises(Refusal, match=r"plain \.npy array"):
        from_folders(parent, (), plain, ALL, None, SKIP, "refuse")
    np.save(parent / "sound" / f"{feature_id(corpus.keys('test')[0])}.npy", np.ones((10, 6), np.float32) / 2)
    (videos,) = from_folders(parent, (), plain, ALL, None, SKIP, "refuse")
    assert [few.keys for few in read(videos, 1)][1:] == [(), ()]


def test_a_feature_that_comes_from_an_encoder_has_no_files(corpus: Any) -> None:
    parent = write_files(corpus, corpus.keys("test")[:1])
    embedded = {"sound": {"width": 6, "variant": "", "encoder": "aaaa"}}
    with pytest.raises(Refusal, match="has the encoder '' where its training had 'aaaa'"):
        from_folders(parent, (), embedded, ALL, None, STOP, "refuse")
