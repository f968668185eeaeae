"""Sets below URLs are read as sets in folders are: over HTTP and over S3, with connections cut, bit for bit."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.read import ReadSettings, Shards, open_sets
from shards.remote import store
from shards.remote.fetch import PART
from shards.remote.seats import deciding
from shards.tars.index import index_name
from tests.shards.remote.remote_rank import WINDOW, digest, parts_of
from tests.shards.servers import CUT, HANG_UP, SECRET, WebServer, s3, tree, web
from tests.shards.sets import write

RANK = Path(__file__).with_name("remote_rank.py")
KEYS = tuple(f"video{number:03d}_0_10" for number in range(47))
CUTS: list[int | str | None] = [CUT, HANG_UP, None, 503, CUT, None, None, CUT, HANG_UP, 500]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write(folder / "train", KEYS, videos_per_shard=4)
    write(folder / "validation", KEYS[:5], videos_per_shard=4)
    return folder


@pytest.fixture
def server(corpus: Path) -> Iterator[WebServer]:
    with web(corpus) as running:
        yield running


@contextmanager
def over_http(corpus: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with web(corpus) as server:
        server.faults.extend(CUTS)
        yield server.url, {}
        assert not server.faults


@contextmanager
def over_s3(corpus: Path) -> Iterator[tuple[str, dict[str, str]]]:
    with s3({f"sets/{name}": path for name, path in tree(corpus).items()}) as (proxy, environment):
        proxy.budgets.extend([None, 50, 300, None, 1000, None, 0, 700, None, 2000] * 2)
        yield "s3://corpus/sets", environment
        assert proxy.cuts >= 5


def rank(url: str, cache: Path, environment: dict[str, str], **plan: int) -> subprocess.Popen[str]:
    words = [sys.executable, str(RANK), json.dumps({"url": url, "cache": str(cache), **plan})]
    return subprocess.Popen(words, env={**os.environ, **environment}, stdout=subprocess.PIPE, text=True)


def most_kept(folder: Path, processes: list[subprocess.Popen[str]]) -> int:
    """The most shards that were on the host at once while these processes ran."""
    most = 0
    while any(process.poll() is None for process in processes):
        for lock in folder.glob("*/lock"):
            with deciding(lock.parent):
                names = {name.removesuffix(PART) for name in os.listdir(lock.parent) if ".tar" in name}
            most = max(most, len(names))
    return most


@pytest.mark.parametrize("serve", [over_http, over_s3])
def test_two_ranks_with_two_loader_processes_each_read_the_folders_batches_bit_for_bit(
    corpus: Path, tmp_path: Path, serve: Callable
) -> None:
    local = Shards.open(corpus / "train")
    parts = [parts_of(local, number, 2) for number in range(2)]
    epochs = 2 * parts[0].order.steps_per_epoch
    with serve(corpus) as (url, environment):
        plan = {"size": 2, "workers": 2, "start": 0, "stop": epochs}
        ranks = [rank(f"{url}/train", tmp_path, environment, rank=number, **plan) for number in range(2)]
        most = most_kept(tmp_path, ranks)
        for number, process in enumerate(ranks):
            lines = process.communicate(timeout=60)[0].splitlines()
            assert process.returncode == 0
            assert lines == [f"{step} {digest(parts[number].read(step))}" for step in range(epochs)]
    assert 1 <= most <= WINDOW + 1


def test_a_set_below_a_url_streams_the_folders_videos_in_stored_order(
    corpus: Path, server: WebServer, tmp_path: Path
) -> None:
    remote = Shards.open(f"{server.url}/train", ReadSettings(cache=tmp_path))
    server.faults.extend(CUTS)
    found = list(remote.stream())
    assert tuple(video.key for video in found) == KEYS == remote.keys
    for video, expected in zip(found, Shards.open(corpus / "train").stream(), strict=True):
        for name, array in expected.features.items():
            np.testing.assert_array_equal(video.features[name], array)


@pytest.mark.parametrize("serve", [over_http, over_s3])
def test_sets_below_a_url_are_found_by_their_names(
    corpus: Path, tmp_path: Path, serve: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serve(corpus) as (url, environment):
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        store._made.cache_clear()
        found = open_sets(url, ReadSettings(cache=tmp_path))
        assert {name: len(shards) for name, shards in found.items()} == {"train": 47, "validation": 5}
        assert found["validation"].keys == KEYS[:5]
        assert list(open_sets(f"{url}/train", ReadSettings(cache=tmp_path))) == [""]
        with pytest.raises(Refusal, match=r"must hold manifest\.json"):
            open_sets(f"{url}/nothing", ReadSettings(cache=tmp_path))
        for each in found.values():
            np.testing.assert_array_equal(
                each.read(1).features["vggish"], Shards.open(corpus / "train").read(1).features["vggish"]
            )
    store._made.cache_clear()


def test_a_video_that_was_damaged_in_the_cache_is_read_as_the_set_has_it(
    corpus: Path, server: WebServer, tmp_path: Path
) -> None:
    first = Shards.open(f"{server.url}/train", ReadSettings(cache=tmp_path))
    expected = first.read(1).features
    (tar,) = tmp_path.glob("*/*.tar")
    del first
    content = bytearray(tar.read_bytes())
    content[len(content) // 3 :: 512] = bytes(len(content[len(content) // 3 :: 512]))
    assert bytes(content) != tar.read_bytes()
    tar.write_bytes(content)
    again = Shards.open(f"{server.url}/train", ReadSettings(cache=tmp_path))
    for place in range(4):
        again.read(place)
    for name, array in expected.items():
        np.testing.assert_array_equal(again.read(1).features[name], array)


def test_keys_cost_no_shard_where_the_indexes_are_served(server: WebServer, tmp_path: Path) -> None:
    assert Shards.open(f"{server.url}/train", ReadSettings(cache=tmp_path)).keys == KEYS
    assert not [path for path in server.starts() if path.endswith(".tar")]


@pytest.mark.parametrize("fault", ["missing", "damaged", "of another shard", "denied"])
def test_an_index_that_does_not_fit_is_made_of_the_shard(
    corpus: Path, server: WebServer, tmp_path: Path, fault: str
) -> None:
    place = f"/train/{index_name('000001.tar')}"
    content = {
        "missing": b"",
        "damaged": b"not a safetensors file",
        "of another shard": (corpus / "train" / index_name("000002.tar")).read_bytes(),
        "denied": b"",
    }[fault]
    server.altered[place] = content
    server.denied[place] = {"missing": 404, "denied": 403}.get(fault, 0)
    assert Shards.open(f"{server.url}/train", ReadSettings(cache=tmp_path)).keys == KEYS
    assert [path for path in server.starts() if path.endswith(".tar")] == ["/train/000001.tar"]


def test_a_manifest_below_a_url_that_was_altered_or_is_missing_is_refused(server: WebServer, tmp_path: Path) -> None:
    settings = ReadSettings(cache=tmp_path)
    server.altered["/train/manifest.json"] = server.content("/train/manifest.json").replace(b'"test"', b'"best"')  # type: ignore[union-attr]
    with pytest.raises(Refusal, match=r"edited by hand|damaged|must be as it was written"):
        Shards.open(f"{server.url}/train", settings)
    with pytest.raises(Refusal, match=r"manifest\.json, but '.*/nothing' does not: name a folder"):
        Shards.open(f"{server.url}/nothing", settings)


def test_credentials_are_in_nothing_that_a_stage_writes_or_says(corpus: Path, tmp_path: Path) -> None:
    with s3({f"sets/{name}": path for name, path in tree(corpus).items()}) as (_, credentials):
        words = [sys.executable, "-m", "launch", "graph", "--threshold_audio", "0.9", "--threshold_visual", "0.9"]
        words += ["--search.k", "8", "--out", str(tmp_path / "graph"), "--tracking.root", str(tmp_path / "runs")]
        environment = {
            **os.environ,
            **credentials,
            "HOME": str(tmp_path / "home"),
            "MPLCONFIGDIR": str(tmp_path / "mpl"),
        }

        def run(location: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [*words, "--shards", location],
                env=environment,
                check=False,
                capture_output=True,
                text=True,
                timeout=120,
            )

        refused = run(f"s3://planted-name:{SECRET}@corpus/sets/train")
        assert refused.returncode == 2
        assert "no credentials" in refused.stderr
        assert not (tmp_path / "runs").exists()
        done = run("s3://corpus/sets/train")
        assert done.returncode == 0, done.stderr
    assert SECRET not in refused.stdout + refused.stderr + done.stdout + done.stderr
    written = tree(tmp_path)
    assert any(name.endswith("mlflow.db") for name in written)
    assert any(name.endswith(".tar") for name in written)
    assert not [name for name, path in written.items() if SECRET.encode() in path.read_bytes()]
