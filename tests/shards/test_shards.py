"""A shard set is read as it was written, by us and by any WebDataset user."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from launch.refusal import Refusal
from shards.read import ReadSettings, Shards, open_sets
from shards.schema import Feature, Video, check_key, key_of, stem_of
from shards.write import Writer
from tests.shards.sets import FEATURES, KEYS, overwrite, sealed, tar, video, write, write_shard

NAMES = [feature.name for feature in FEATURES]


@given(st.text(st.characters(exclude_characters="/", exclude_categories=["C", "Z"]), min_size=1))
def test_a_stem_keeps_its_key_and_has_no_dot(key: str) -> None:
    assert key_of(stem_of(key)) == key
    assert "." not in stem_of(key)


@pytest.mark.parametrize("key", ["", "a/b", "a\nb", "a\x00", "a\x7f"])
def test_a_key_that_cannot_name_a_member_is_refused(key: str) -> None:
    with pytest.raises(Refusal, match="key must be printable and free of '/'"):
        check_key(key)


def test_videos_are_read_as_they_were_written_in_any_order(tmp_path: Path) -> None:
    shards = write(tmp_path / "set")
    assert shards.keys == KEYS
    assert len(shards) == len(KEYS)
    for index in (3, 0, 4, 1, 2):
        read = shards.read(index)
        assert read.key == KEYS[index]
        for name, array in video(KEYS[index], index).features.items():
            assert read.features[name].dtype == np.float16
            np.testing.assert_array_equal(read.features[name], array.astype(np.float16))


def test_streaming_gives_the_same_videos_in_stored_order(tmp_path: Path) -> None:
    shards = write(tmp_path / "set")
    for index, streamed in enumerate(shards.stream()):
        read = shards.read(index)
        assert streamed.key == read.key
        for name in streamed.features:
            np.testing.assert_array_equal(streamed.features[name], read.features[name])


def test_a_batch_stacks_the_named_features_in_the_order_asked_for(tmp_path: Path) -> None:
    shards = write(tmp_path / "set")
    for _ in range(2):  # the second time without looking at digests
        batch = shards.batch([4, 0], ["vggish"])
        assert list(batch.features) == ["vggish"]
        assert batch.places.tolist() == [4, 0]
        assert batch.features["vggish"].shape == (2, 10, 4)
        for row, place in enumerate((4, 0)):
            np.testing.assert_array_equal(
                batch.features["vggish"][row], video("", place).features["vggish"].astype("f2")
            )
    assert shards.batch([], ["resnet152"]).features["resnet152"].shape == (0, 10, 6)


def test_a_batch_is_read_into_the_arrays_that_are_given(tmp_path: Path) -> None:
    shards = write(tmp_path / "set")
    out = shards.empty(4, NAMES)
    batch = shards.batch([1, 3], NAMES, out)
    for name in NAMES:
        assert np.shares_memory(batch.features[name], out[name])
        np.testing.assert_array_equal(out[name][1], shards.read(3).features[name])


@pytest.mark.parametrize(
    "wrong", [np.zeros((4, 10, 4), np.float32), np.zeros((1, 10, 4), np.float16), np.zeros((4, 10, 5), np.float16)]
)
def test_arrays_of_another_type_or_shape_are_refused(tmp_path: Path, wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"must be float16 of shape \(≥ 2, 10, 4\)"):
        write(tmp_path / "set").batch([0, 1], ["vggish"], {"vggish": wrong})


def test_threads_share_a_batch_and_its_faults(tmp_path: Path) -> None:
    keys = tuple(f"{number}_0_10" for number in range(300))
    whole = write(tmp_path / "set", keys, 3)  # more shards than may be open at a time
    overwrite(tmp_path / "set" / "000003.tar", 700, b"\x3f\x3f")
    order = np.random.default_rng(0).permutation(300)
    read = [
        Shards.open(tmp_path / "set", ReadSettings(threads=threads, on_bad="skip")).batch(order, NAMES)
        for threads in (1, 2, 5)
    ]
    assert [len(rows.faults) for rows in read] == [1, 1, 1]
    for rows in read:
        assert rows.places.tolist() == [place for place in order if place != 9]
        for row in (0, 100, 298):
            expected = whole.read(int(rows.places[row])).features
            np.testing.assert_array_equal(rows.features["vggish"][row], expected["vggish"])


def test_a_member_that_another_program_laid_out_is_read_all_the_same(tmp_path: Path) -> None:
    write(tmp_path / "set")
    arrays = {name: array.astype(np.float16) for name, array in video("").features.items()}
    foreign = [(f"{stem_of(key)}.safetensors", save(arrays, {"made": "elsewhere"})) for key in KEYS[:2]]
    tar(tmp_path / "set" / "000000.tar", foreign)
    sealed(tmp_path / "set")
    shards = Shards.open(tmp_path / "set")
    for _ in range(2):
        rows = shards.batch([1, 2], NAMES)
        for name in NAMES:
            np.testing.assert_array_equal(rows.features[name][0], arrays[name])
            np.testing.assert_array_equal(rows.features[name][1], video("", 2).features[name].astype(np.float16))
    assert [each.key for each in shards.stream()] == list(KEYS)


def test_an_unknown_feature_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"'clap' is not in .*vggish, resnet152"):
        write(tmp_path / "set").batch([0], ["clap"])


def test_stock_webdataset_opens_the_tars(tmp_path: Path) -> None:
    shards = write(tmp_path / "set")
    tars = [str(tmp_path / "set" / shard.file) for shard in shards.manifest.shards]
    samples = list(wds.WebDataset(tars, shardshuffle=False))
    assert [key_of(sample["__key__"]) for sample in samples] == list(KEYS)
    np.testing.assert_array_equal(load(samples[1]["safetensors"])["vggish"], shards.read(1).features["vggish"])


def test_the_same_videos_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    assert first.manifest.digest == second.manifest.digest
    assert [shard.sha256 for shard in first.manifest.shards] == [shard.sha256 for shard in second.manifest.shards]
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_writing_a_shard_keeps_no_video_in_memory(tmp_path: Path) -> None:
    features = {"resnet152": Feature("resnet152", 2048)}
    array = np.ones((10, 2048), np.float16)

    def peak(videos: int) -> int:
        tracemalloc.start()
        write_shard(
            tmp_path / f"{videos}.tar", features, (Video(f"{n}_0_10", {"resnet152": array}) for n in range(videos))
        )
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most

    few, many = peak(20), peak(200)
    assert many - few < 5 * array.nbytes  # 180 more videos have 180 times that


def _nan(array: np.ndarray) -> np.ndarray:
    return np.where(np.arange(array.size).reshape(array.shape) == 13, np.nan, array)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (Video(KEYS[0], video("x").features), "'-Ab_0_10' was added twice"),
        (Video("n_0_10", {"vggish": np.zeros((10, 4))}), r"the features \['resnet152', 'vggish'\]"),
        (
            Video("n_0_10", video("x").features | {"vggish": np.zeros((9, 4))}),
            r"\(10, 4\), but is \(9, 4\)",
        ),
        (Video("n_0_10", video("x").features | {"vggish": _nan(np.zeros((10, 4)))}), "nan at second 3, column 1"),
        (
            Video("n_0_10", video("x").features | {"vggish": np.full((10, 4), 1e6)}),
            "inf .*as float16.*float32",
        ),
        (Video("a/b_0_10", video("x").features), "holds '/'"),
    ],
)
def test_a_bad_video_is_refused_and_nothing_is_left(tmp_path: Path, bad: Video, message: str) -> None:
    def add_both() -> None:
        with Writer(tmp_path / "set", FEATURES, {}, 1) as writer:
            writer.add(video(KEYS[0]))
            writer.add(bad)

    with pytest.raises(Refusal, match=message):
        add_both()
    assert list(tmp_path.iterdir()) == []


def test_a_set_without_videos_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match="at least one video"):
        write(tmp_path / "set", ())
    assert list(tmp_path.iterdir()) == []


def test_sets_are_opened_alone_or_by_the_names_of_their_folders(tmp_path: Path) -> None:
    write(tmp_path / "all" / "train")
    write(tmp_path / "all" / "test")
    assert list(open_sets(tmp_path / "all")) == ["test", "train"]
    assert list(open_sets(tmp_path / "all" / "train")) == [""]
    with pytest.raises(Refusal, match=r"name one of its sets, '.*/all/test', '.*/all/train'"):
        Shards.open(tmp_path / "all")
    with pytest.raises(Refusal, match=r"must hold manifest\.json, or subfolders that do"):
        open_sets(tmp_path)
    with pytest.raises(Refusal, match="nowhere' is no folder"):
        open_sets(tmp_path / "nowhere")
    with pytest.raises(Refusal, match="there is no such folder"):
        Shards.open(tmp_path / "nowhere")
