"""Folders of .npy files are sources: a feature each, with variant and width as their files show them."""

import pickle
import re
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from launch.refusal import Refusal
from shards.schema import Feature
from shards.sources import BadVideo, Source
from shards.sources.npy import open_folders

GENERATOR = np.random.default_rng(0)


def save(folder: Path, arrays: dict[str, np.ndarray]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array)
    return folder


def open_one(folder: Path) -> Source:
    (source,) = open_folders(folder.parent, (folder.name,), "float16")
    return source


def sound(rows: int = 10, width: int = 128) -> np.ndarray:
    return GENERATOR.random((rows, width), dtype=np.float32)


def test_a_folder_is_a_feature_under_the_name_it_goes_by(tmp_path: Path) -> None:
    save(tmp_path / "res152", {"a": sound(80, 2048)})
    save(tmp_path / "own", {"a": sound(20, 3), "b.c": sound(20, 3)})
    (tmp_path / "empty").mkdir()
    own, residual = open_folders(tmp_path, (), "float32")
    assert own.reader.feature == Feature("own", 3, "", "own/<id>.npy, 2 row(s) a second", "float32")
    assert residual.reader.feature == Feature("resnet152", 2048, "", "res152/<id>.npy, 8 row(s) a second", "float32")
    assert list(own.places) == ["a", "b.c"]
    assert own.told == {"kind": "npy folder", "name": "own", "videos": 2}


@pytest.mark.parametrize("name", ["__metadata__", "a\x1b[2J", "a\udcff"])
def test_a_folder_whose_name_no_feature_can_have_is_refused(tmp_path: Path, name: str) -> None:
    save(tmp_path / name, {"a": sound()})
    with pytest.raises(
        Refusal, match=rf"A feature's name must .* but {re.escape(repr(name))} was found in '.*': rename"
    ):
        open_folders(tmp_path, (), "float16")


@pytest.mark.parametrize(
    ("values", "variant"),
    [
        (sound(), "raw"),
        (-sound(), "signed"),
        (np.round(sound() * 255), "quantised"),
        (np.round(sound() * 255).astype(np.uint8), "quantised"),
        (np.zeros((10, 128)), "raw"),
    ],
)
def test_the_variant_of_vggish_is_told_by_the_first_values_that_tell(
    tmp_path: Path, values: np.ndarray, variant: str
) -> None:
    save(tmp_path / "vggish", {"a": np.zeros((10, 128)), "b": np.full((10, 128), np.nan), "c": values})
    assert open_one(tmp_path / "vggish").reader.feature.variant == variant


def test_only_vggish_has_variants(tmp_path: Path) -> None:
    source = open_one(save(tmp_path / "clap", {"a": sound(), "b": -sound()}))
    assert source.reader.feature.variant == ""
    source.reader.read("b", source.places["b"])


def test_a_reader_is_small_and_reads_in_any_process(tmp_path: Path) -> None:
    arrays = {f"video{number:03d}": sound(10, 4) for number in range(200)}
    source = open_one(save(tmp_path / "clap", arrays))
    packed = pickle.dumps(source.reader)
    assert len(packed) < 1000
    for name, array in arrays.items():
        assert np.array_equal(pickle.loads(packed).read(name, source.places[name]), array)


def test_the_state_of_a_file_is_its_size_and_time(tmp_path: Path) -> None:
    source = open_one(save(tmp_path / "clap", {"a": sound()}))
    status = (tmp_path / "clap" / "a.npy").stat()
    assert source.reader.stamp("a", source.places["a"]) == ("a.npy", status.st_size, status.st_mtime_ns)


def test_a_file_that_is_gone_is_an_error_and_no_bad_video(tmp_path: Path) -> None:
    source = open_one(save(tmp_path / "clap", {"a": sound()}))
    (tmp_path / "clap" / "a.npy").unlink()
    with pytest.raises(FileNotFoundError):
        source.reader.read("a", source.places["a"])


def test_a_folder_without_one_sound_file_is_refused_for_its_first(tmp_path: Path) -> None:
    save(tmp_path / "clap", {"a": sound(11, 3), "b": np.full((10, 3), np.inf)})
    with pytest.raises(Refusal, match=r"a\.npy' has shape \(11, 3\)"):
        open_one(tmp_path / "clap")


@pytest.mark.parametrize(("name", "rows", "width"), [("clap", 7, 3), ("vggish", 7, 128), ("res152", 56, 2048)])
def test_a_folder_may_hold_none_but_short_videos_whose_names_do_not_say_so(
    tmp_path: Path, name: str, rows: int, width: int
) -> None:
    array = sound(rows, width)
    source = open_one(save(tmp_path / name, {"a": array}))
    assert source.reader.feature.width == width
    with pytest.raises(BadVideo, match="must have 10 rows, or a multiple"):
        source.reader.read("a", source.places["a"])
    found = source.reader.read("a", source.places["a"], 7)
    np.testing.assert_allclose(found[:7], array.reshape(7, -1, width).mean(axis=1), rtol=1e-6)
    assert not found[7:].any()


def test_a_named_folder_without_files_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Refusal, match=r"must hold \.npy files, but '.*clap' holds none"):
        open_one(tmp_path / "clap")


@given(at=st.integers(0, 200), byte=st.integers(0, 255), cut=st.integers(0, 250))
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_damage_to_a_file_gives_an_array_or_a_bad_video(tmp_path: Path, at: int, byte: int, cut: int) -> None:
    file = save(tmp_path / "clap", {"a": np.ones((10, 3), np.float32)}) / "a.npy"
    source = open_one(file.parent)
    content = bytearray(file.read_bytes())
    content[at] = byte
    file.write_bytes(content[: max(0, len(content) - cut + 20)])
    with suppress(BadVideo):
        assert source.reader.read("a", source.places["a"]).shape == (10, 3)
