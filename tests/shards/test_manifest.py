"""A manifest is a wids index with checksums; another version, another hand and other urls are refused."""

import json
from pathlib import Path

import pytest
import wids

from launch.digest import sha256_file
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
        ('"nsamples"', '"samples"', "lacks or misspells 'nsamples'"),
        ('"float16"', '"object"', "lacks or misspells shape and dtype of 'vggish'"),
        ("[\n    10,\n    4\n", "[\n    9,\n    4\n", "lacks or misspells shape and dtype of 'vggish'"),
    ],
)
def test_a_manifest_that_is_not_as_written_is_refused(path: Path, old: str, new: str, message: str) -> None:
    edited(path, old, new)
    refused(path, message)


@pytest.mark.parametrize(
    "url",
    ["pipe:cat /etc/passwd", "http://elsewhere/000000.tar", "../000000.tar", "/tmp/000000.tar", "000000.tar.gz", ""],
)
def test_a_url_that_is_not_the_name_of_a_tar_is_never_opened(path: Path, url: str) -> None:
    edited(path, '"000000.tar"', json.dumps(url))
    refused(path, "must be the name of a tar beside it, but .* which is never opened")


def test_nesting_without_end_is_no_manifest(path: Path) -> None:
    path.write_text("[" * 100_000)
    refused(path, "must be JSON")
