"""An offset index is derived: made anew when it is missing or stale, and never believed against its tar."""

import os
from pathlib import Path

import numpy as np
import pytest
import xxhash
from safetensors import safe_open
from safetensors.numpy import save

from launch.refusal import Refusal
from shards.manifest import Manifest, Shard
from shards.read import Shards
from shards.tars.index import Index, index_name, open_index
from tests.shards.sets import KEYS, member, overwrite, sealed, tar, write

MOST = 1 << 20


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A set of five videos in shards of two, two and one."""
    write(tmp_path / "set")
    return tmp_path / "set"


def first(folder: Path) -> tuple[Path, Path, Shard]:
    shard = Manifest.read(folder).shards[0]
    return folder / shard.file, folder / index_name(shard.file), shard


def test_the_writer_leaves_the_index_that_a_walk_finds(folder: Path) -> None:
    path, index, shard = first(folder)
    written, built = Index.load(index, shard), Index.build(path, shard, MOST)
    assert written is not None
    assert written.keys == built.keys == KEYS[:2]
    for name in ("start", "size", "digest"):
        np.testing.assert_array_equal(getattr(written, name), getattr(built, name))


def test_digests_are_those_of_the_bytes_at_the_offsets(folder: Path) -> None:
    path, index, shard = first(folder)
    found = Index.load(index, shard)
    assert found is not None
    content = path.read_bytes()
    for start, size, digest in zip(found.start, found.size, found.digest, strict=True):
        assert xxhash.xxh3_128(content[start : start + size]).digest() == digest.tobytes()


def _remove(index: Path) -> None:
    index.unlink()


def _garble(index: Path) -> None:
    index.write_bytes(b"garbage")


def _rename_a_key(index: Path) -> None:
    content = index.read_bytes()
    overwrite(index, content.index(b"-Ab_0_10"), b"-XX")


def _of_another_shard(index: Path) -> None:
    index.write_bytes(index.with_name("000001.index.safetensors").read_bytes())


@pytest.mark.parametrize("damage", [_remove, _garble, _rename_a_key, _of_another_shard])
def test_a_missing_or_stale_index_is_made_anew_and_kept(folder: Path, damage, capsys) -> None:  # type: ignore[no-untyped-def]
    path, index, shard = first(folder)
    whole = index.read_bytes()
    damage(index)
    assert open_index(path, shard, MOST).keys == KEYS[:2]
    assert index.read_bytes() == whole
    assert f"Made the offset index of '{path}' anew." in capsys.readouterr().out


def test_an_index_is_made_anew_only_of_the_shard_that_the_manifest_names(folder: Path) -> None:
    path, index, shard = first(folder)
    index.unlink()
    overwrite(path, path.stat().st_size - 1, b"x")
    with pytest.raises(Refusal, match=r"manifest's sha256 .*000000\.tar' has .*altered since"):
        open_index(path, shard, MOST)
    assert not index.exists()


def _changed(index: Path, name: str, values: np.ndarray) -> None:
    """Rewrites a tensor of an index as a faulty program would: with checksums that agree."""
    with safe_open(index, "np") as file:
        about = file.metadata()["index"]
        tensors = {each: file.get_tensor(each) for each in file.keys()}  # noqa: SIM118
    tensors[name] = values
    whole = xxhash.xxh3_128(b"".join(tensors[each].tobytes() for each in sorted(tensors)))
    index.write_bytes(save(tensors, {"index": about.split("content=")[0] + f"content={whole.hexdigest()}"}))


def test_an_index_that_points_outside_its_tar_is_refused_by_name(folder: Path) -> None:
    _, index, shard = first(folder)
    _changed(index, "start", np.array([512, shard.bytes]))
    with pytest.raises(
        Refusal, match=r"000000.index.safetensors' puts 'AP0061o0Nvk_101.8_111.8' outside it: delete it"
    ):
        list(Shards.open(folder).keys)


def test_an_index_of_another_number_of_videos_is_refused_by_name(folder: Path) -> None:
    _, index, _ = first(folder)
    _changed(index, "start", np.array([512]))
    with pytest.raises(Refusal, match=r"index.safetensors' holds int64 of shape \(1,\) as 'start': delete it"):
        list(Shards.open(folder).keys)


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("start", np.array([512.0, 2048.0]), "holds float64 of shape"),
        ("digest", np.zeros((2, 8), np.uint8), r"holds uint8 of shape \(2, 8\) as 'digest'"),
        ("names", np.frombuffer(b"\xff\xfe\n\xff", np.uint8), "holds keys that are not UTF-8"),
        ("names", np.frombuffer(b"one", np.uint8), "lists 1 keys"),
        ("size", np.array([1 << 62, 1]), "puts '-Ab_0_10' outside it"),
    ],
)
def test_an_index_of_other_types_is_refused_by_name(folder: Path, name: str, values: np.ndarray, message: str) -> None:
    _, index, _ = first(folder)
    _changed(index, name, values)
    with pytest.raises(Refusal, match=f"index.safetensors' {message}.*: delete it, and it is made anew"):
        list(Shards.open(folder).keys)


def test_an_index_that_points_elsewhere_inside_its_tar_is_found_by_the_digest(folder: Path) -> None:
    _, index, shard = first(folder)
    found = Index.load(index, shard)
    assert found is not None
    _changed(index, "start", found.start + 8)
    with pytest.raises(Refusal, match=r"'-Ab_0_10' in .*000000.tar' has another"):
        Shards.open(folder).read(0)


def test_a_folder_that_cannot_be_written_to_is_read_all_the_same(folder: Path, monkeypatch, capsys) -> None:  # type: ignore[no-untyped-def]
    path, index, shard = first(folder)
    index.unlink()

    def refuse(*_: object) -> None:
        raise PermissionError(13, "read-only")

    monkeypatch.setattr(os, "replace", refuse)  # as root may write anywhere, the last step has to fail
    assert open_index(path, shard, MOST).keys == KEYS[:2]
    assert "in memory only" in capsys.readouterr().out
    assert not index.exists()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AP_101.8_111.8.safetensors", r"escaped \('AP_101%2E8_111%2E8'\).* holds 'AP_101.8_111.8.safetensors'"),
        ("x%41_0_10.safetensors", r"escaped \('x%2541_0_10'\)"),
        ("a/b_0_10.safetensors", "holds 'a/b_0_10.safetensors'"),
        ("a\n_0_10.safetensors", r"free of '/', but 'a\\n_0_10' holds '\\n' in .*000000.tar"),
        (".safetensors", "an empty key was found in .*000000.tar"),
        *((f"x_0_10.{suffix}", f"holds 'x_0_10.{suffix}'") for suffix in ("pyd", "pkl", "pickle", "pth", "pkl.gz")),
    ],
)
def test_a_member_that_is_no_video_is_refused_by_name(folder: Path, name: str, message: str) -> None:
    path, _, _ = first(folder)
    tar(path, [member(KEYS[0]), (name, b"never decoded")])
    sealed(folder)
    with pytest.raises(Refusal, match=message):
        list(Shards.open(folder).keys)
