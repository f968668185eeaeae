"""A manifest is a wids index with checksums; another version, another hand and other urls are refused."""

import json
from pathlib import Path

import pytest
import wids

from launch.digest import sha256_file, sha256_json
from launch.refusal import Refusal
from shards.manifest import Manifest
from shards.read import Shards
from shards.schema import key_of
from tests.shards.sets import KEYS, write


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The manifest of a set of five videos."""
    write(tmp_path / "set")
    return tmp_path / "set" / "manifest.json"


def edited(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def refused(path: Path, message: str) -> None:
    with pytest.raises(Refusal, match=message):
        Shards.open(path.parent)


def test_it_tells_each_shard_and_each_feature(path: Path) -> None:
    index = json.loads(path.read_text())
    assert (index["__kind__"], index["wids_version"], index["soundsight"]) == ("wids-shard-index-v1", 1, 2)
    assert [entry["nsamples"] for entry in index["shardlist"]] == [2, 2, 1]
    for entry in index["shardlist"]:
        tar = path.parent / entry["url"]
        assert (tar.stat().st_size, sha256_file(tar)) == (entry["filesize"], entry["sha256"])
    assert index["features"][0] == {
        "name": "vggish",
        "dtype": "float16",
        "shape": [10, 4],
        "variant": "raw",
        "source": "test",
    }
    assert index["source"] == {"stage": "test"}


def test_stock_wids_reads_every_video_by_its_number(path: Path, tmp_path: Path) -> None:
    dataset = wids.ShardListDataset(str(path), transformations=[], base=str(path.parent), cache_dir=str(tmp_path))
    found = [key_of(dataset[number]["__key__"]) for number in range(len(dataset))]
    assert found == [key.replace("é", "?") for key in KEYS]  # its own reader of tar headers knows ASCII only


def test_reading_gives_back_what_was_written(path: Path) -> None:
    found = Manifest.read(path.parent)
    assert found.text() == path.read_text()
    assert found.digest == sha256_file(path)
    assert (found.videos, found.counts) == (5, (2, 2, 1))


def test_a_missing_manifest_names_the_sets_nearby(path: Path) -> None:
    with pytest.raises(Refusal, match=r"must hold manifest.json, but .* name one of its sets, '.*/set'"):
        Shards.open(path.parent.parent)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"soundsight": 2', '"soundsight": 1', "schema version 2, but .*manifest.json' has 1: pack again"),
        ('"raw"', '"PCA"', "was edited by hand"),
        ("{", "", "must be JSON"),
    ],
)
def test_a_manifest_that_is_not_as_written_is_refused(path: Path, old: str, new: str, message: str) -> None:
    edited(path, old, new)
    refused(path, message)


def forged(path: Path, place: tuple[str | int, ...], value: object) -> None:
    """Changes one value and seals the manifest anew, as another program might."""
    index = json.loads(path.read_text())
    del index["seal"]
    inner = index
    for step in place[:-1]:
        inner = inner[step]
    inner[place[-1]] = value
    path.write_text(json.dumps(index | {"seal": sha256_json(index)}, indent=1) + "\n")


@pytest.mark.parametrize("count", [-1, 0, 10**12, 10**30, float("nan"), "2", 2.0, None, True, [2]], ids=repr)
@pytest.mark.parametrize("field", ["nsamples", "filesize"])
def test_a_number_that_cannot_be_is_refused_by_its_place(path: Path, field: str, count: object) -> None:
    forged(path, ("shardlist", 1, field), count)
    message = rf"'shardlist\.1\.{field}' in .*manifest.json' is not|must have its manifest's size|at least 512 bytes"
    refused(path, message)


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (("shardlist", 0, "sha256"), 5, r"'shardlist\.0\.sha256' in"),
        (("shardlist", 0, "sha256"), "abc", r"'shardlist\.0\.sha256' in"),
        (("shardlist",), [], "'shardlist' in"),
        (("features",), [], "'features' in"),
        (("features", 0, "dtype"), "object", r"'features\.0\.dtype' in"),
        (("features", 0, "shape"), [9, 4], r"'features\.0\.shape\.0' in"),
        (("features", 0, "shape"), [10, 4.0], r"'features\.0\.shape\.1' in"),
        (("features", 0, "shape"), [10, 0], "must have 1 to 65536 numbers a second, but 'vggish' has 0"),
        (("features", 0, "shape"), [10, 10**12], "must have 1 to 65536 numbers a second, but 'vggish' has 10{12}"),
        (("features", 0, "variant"), [1], r"'features\.0\.variant' in"),
        (("features", 0, "name"), "resnet152", "'resnet152' comes twice in '.*manifest.json'"),
        (("features", 0, "name"), "a/b", "'a/b' was found in '.*manifest.json'"),
        (("source",), "somewhere", "'source' in"),
        (("more",), 1, "'more' in"),
        (("shardlist", 1, "url"), "000000.tar", "has '000000.tar' twice"),
    ],
)
def test_what_does_not_belong_in_a_manifest_is_refused_by_its_place(
    path: Path, place: tuple[str | int, ...], value: object, message: str
) -> None:
    forged(path, place, value)
    refused(path, message)


@pytest.mark.parametrize(
    "url", ["pipe:cat /etc/passwd", "http://elsewhere/0.tar", "../0.tar", "/tmp/0.tar", "0.tar.gz", ""]
)
def test_a_url_that_is_not_the_name_of_a_tar_is_never_opened(path: Path, url: str) -> None:
    forged(path, ("shardlist", 0, "url"), url)
    refused(path, "must be the name of a tar beside it, but .* which is never opened")


def test_nesting_without_end_is_no_manifest(path: Path) -> None:
    path.write_text("[" * 100_000)
    refused(path, "must be JSON")
