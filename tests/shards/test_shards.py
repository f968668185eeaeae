"""A shard set is read as it was written, by us and by any WebDataset user; damage is named."""

import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import webdataset as wds
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load

from launch.digest import sha256_file
from launch.refusal import Refusal
from shards.manifest import Manifest, Shard
from shards.read import Shards, open_sets
from shards.schema import Feature, Video, check_key, key_of, stem_of
from shards.write import Writer

FEATURES = (Feature("vggish", 4, "raw", "test"), Feature("resnet152", 6, source="test"))
KEYS = ("-Ab_0_10", "AP0061o0Nvk_101.8_111.8", "50%_1_11", "_x_0_10", "é_0_10")


def video(key: str, seed: int = 0) -> Video:
    generator = np.random.default_rng(seed)
    return Video(key, {each.name: generator.random((10, each.width), dtype=np.float32) for each in FEATURES})


def write(folder: Path, keys: tuple[str, ...] = KEYS, videos_per_shard: int = 2) -> Shards:
    with Writer(folder, FEATURES, {"stage": "test"}, videos_per_shard) as writer:
        for seed, key in enumerate(keys):
            writer.add(video(key, seed))
    return Shards.open(folder)


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
    batch = shards.batch([4, 0], ["vggish"])
    assert list(batch) == ["vggish"]
    assert batch["vggish"].shape == (2, 10, 4)
    np.testing.assert_array_equal(batch["vggish"][0], shards.read(4).features["vggish"])
    assert shards.batch([], ["resnet152"])["resnet152"].shape == (0, 10, 6)


def test_an_unknown_feature_is_refused_with_the_names_there_are(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"'clap' is not in .*vggish, resnet152"):
        write(tmp_path / "set").batch([0], ["clap"])


def test_stock_webdataset_opens_the_tars(tmp_path: Path) -> None:
    shards = write(tmp_path / "set")
    tars = [str(tmp_path / "set" / shard.file) for shard in shards.manifest.shards]
    samples = list(wds.WebDataset(tars, shardshuffle=False))
    assert [key_of(sample["__key__"]) for sample in samples] == list(KEYS)
    np.testing.assert_array_equal(load(samples[1]["safetensors"])["vggish"], shards.read(1).features["vggish"])


def test_the_manifest_is_a_wids_index_with_checksums(tmp_path: Path) -> None:
    write(tmp_path / "set")
    index = json.loads((tmp_path / "set" / "manifest.json").read_text())
    assert (index["__kind__"], index["wids_version"]) == ("wids-shard-index-v1", 1)
    assert [entry["nsamples"] for entry in index["shardlist"]] == [2, 2, 1]
    for entry in index["shardlist"]:
        assert sha256_file(tmp_path / "set" / entry["url"]) == entry["sha256"]


def test_the_same_videos_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "one"), write(tmp_path / "two")
    assert first.manifest.digest == second.manifest.digest
    assert [shard.sha256 for shard in first.manifest.shards] == [shard.sha256 for shard in second.manifest.shards]


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


def _cut(folder: Path) -> None:
    path = folder / "000001.tar"
    path.write_bytes(path.read_bytes()[:1024])


def _remove(folder: Path) -> None:
    (folder / "000001.tar").unlink()


def _other_version(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"soundsight": 1', '"soundsight": 99'))


def _edit(folder: Path) -> None:
    path = folder / "manifest.json"
    path.write_text(path.read_text().replace('"raw"', '"PCA"') + "\n")


def _garble(folder: Path) -> None:
    (folder / "manifest.json").write_text("{")


def _no_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_cut, r"000001.tar' has 1024 bytes instead of \d+: copy it again"),
        (_remove, r"000001.tar' is missing"),
        (_other_version, "schema version 1, but .* has 99"),
        (_edit, "was edited by hand"),
        (_garble, "must be JSON"),
        (_no_manifest, "must hold manifest.json"),
    ],
)
def test_a_damaged_set_is_refused_when_it_is_opened(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "set")
    damage(tmp_path / "set")
    with pytest.raises(Refusal, match=message):
        Shards.open(tmp_path / "set")


def _overwrite(path: Path, start: int, content: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[start : start + len(content)] = content
    path.write_bytes(data)


def _damage_header(path: Path) -> None:
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1].offset
    _overwrite(path, second, b"\xff" * 512)


def _damage_payload(path: Path) -> None:
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1].offset_data
    _overwrite(path, second, b"\xff" * 8)


def _flip_a_value(path: Path) -> None:
    with tarfile.open(path) as tar:
        second = tar.getmembers()[1]
    _overwrite(path, second.offset_data + second.size - 1, b"\x3f")


def _double(path: Path) -> None:
    with tarfile.open(path) as tar:
        first, second = tar.getmembers()
    content = path.read_bytes()
    _overwrite(path, second.offset, content[first.offset : second.offset])


def _reseal(folder: Path) -> Shards:
    """The set with a manifest that agrees with its damaged shard, as a foreign writer would leave it."""
    found = Manifest.read(folder)
    path = folder / found.shards[0].file
    first = Shard(path.name, found.shards[0].videos, path.stat().st_size, sha256_file(path))
    Manifest(found.features, (first, *found.shards[1:]), found.source).write(folder)
    return Shards.open(folder)


def _other_suffix(path: Path) -> None:
    _overwrite(path, 0, b"-Ab_0_10.pickle" + b"\0" * 20)
    header = bytearray(path.read_bytes()[:512])
    header[148:156] = b" " * 8
    _overwrite(path, 148, f"{sum(header):06o}\0 ".encode())


READERS = [lambda s: list(s.stream()), lambda s: [s.read(i) for i in range(len(s))]]


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("damage", [_flip_a_value, _damage_header, _damage_payload])
def test_a_shard_that_was_altered_is_named_by_every_reader(
    tmp_path: Path, read: Callable[[Shards], object], damage: Callable[[Path], None]
) -> None:
    shards = write(tmp_path / "set")
    damage(tmp_path / "set" / "000000.tar")
    with pytest.raises(Refusal, match=r"manifest's sha256 .*000000\.tar' has .*altered since"):
        read(shards)


@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_damage_header, r"000000.tar' (is damaged|holds 1 instead of 2)"),
        (_damage_payload, r"'AP0061o0Nvk_101.8_111.8' in .*000000.tar' is damaged"),
        (_other_suffix, r"<stem>.safetensors, but .*000000.tar' holds '-Ab_0_10.pickle'"),
        (_double, r"'-Ab_0_10' is twice in|000000.tar' is damaged \(.?-Ab_0_10.safetensors: duplicate"),
    ],
)
def test_a_shard_that_was_written_badly_is_named_by_every_reader(
    tmp_path: Path, read: Callable[[Shards], object], damage: Callable[[Path], None], message: str
) -> None:
    write(tmp_path / "set")
    damage(tmp_path / "set" / "000000.tar")
    with pytest.raises(Refusal, match=message):
        read(_reseal(tmp_path / "set"))


def test_sets_are_opened_alone_or_by_the_names_of_their_folders(tmp_path: Path) -> None:
    write(tmp_path / "all" / "train")
    write(tmp_path / "all" / "test")
    assert list(open_sets(tmp_path / "all")) == ["test", "train"]
    assert list(open_sets(tmp_path / "all" / "train")) == [""]
    with pytest.raises(Refusal, match=r"name one of its sets, '.*/all/test', '.*/all/train'"):
        Shards.open(tmp_path / "all")
    with pytest.raises(Refusal, match=r"must hold manifest\.json, or subfolders that do"):
        open_sets(tmp_path)
