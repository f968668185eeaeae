"""Features in WebDataset tars become shards; nothing but plain arrays is ever decoded."""

import io
import os
import pickle
import tarfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.sources import BadVideo, Source
from shards.sources.webdataset import open_tars
from tests.shards.foreign import add_array, add_file

Fill = Callable[[tarfile.TarFile], None]
GENERATOR = np.random.default_rng(0)
SOUND = {f"video{number}_0_10": GENERATOR.random((10, 128), dtype=np.float32) for number in range(6)}
PICTURE = {key: GENERATOR.random((80, 2048), dtype=np.float32).astype(np.float16) for key in SOUND}


def make(path: Path, fill: Fill, mode: str = "w") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:  # type: ignore[call-overload]
        fill(tar)
    return path


def fill(tar: tarfile.TarFile) -> None:
    for key, array in SOUND.items():
        add_array(tar, f"{key}.vggish.npy", array)
        add_array(tar, f"{key}.res152.npy", PICTURE[key])
        add_file(tar, f"{key}.json", b"{}")
        add_file(tar, f"{key}.cls", b"3")


def only(name: str, content: bytes = b"x") -> Fill:
    return lambda tar: add_file(tar, name, content)


def array(name: str, values: np.ndarray) -> Fill:
    return lambda tar: add_array(tar, name, values, allow_pickle=True)


def read(source: Source, key: str) -> np.ndarray:
    return source.reader.read(key, source.places[key])


def test_every_array_is_read_by_its_place_in_any_process_averaged_to_a_row_a_second(tmp_path: Path) -> None:
    make(tmp_path / "old" / "0.tar", fill)
    visual, audio = open_tars((str(tmp_path / "old"),), "float16")
    assert [(each.reader.feature.name, each.reader.feature.width) for each in (visual, audio)] == [
        ("resnet152", 2048), ("vggish", 128),
    ]  # fmt: skip
    reader = pickle.loads(pickle.dumps(visual.reader))
    for key in reversed(SOUND):
        assert np.array_equal(read(audio, key), SOUND[key])
        expected = PICTURE[key].astype(np.float64).reshape(10, 8, 2048).mean(axis=1)
        np.testing.assert_allclose(reader.read(key, visual.places[key]), expected, atol=1e-6)
    assert audio.told == {"kind": "WebDataset tars", "name": "old", "feature": "vggish", "tars": 1, "videos": 6}
    assert audio.reader.feature.source == "old/*.tar, <key>.vggish.npy, 1 row(s) a second"


def test_tars_of_several_folders_are_one_source(tmp_path: Path) -> None:
    for number, (key, values) in enumerate(SOUND.items()):
        make(tmp_path / f"part{number % 2}" / f"{number}.tar", array(f"{key}.vggish.npy", values))
    (source,) = open_tars((str(tmp_path / "part0"), str(tmp_path / "part1" / "*.tar")), "float16")
    assert sorted(source.places) == sorted(SOUND)
    for key, values in SOUND.items():
        assert np.array_equal(read(source, key), values)


def test_what_is_left_out_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "0.tar", fill)
    open_tars((str(tmp_path),), "float16")
    assert capsys.readouterr().out == "Left out the members .cls, .json: only .npy members are features.\n"


def test_an_escaped_dot_and_percent_are_read_back(tmp_path: Path) -> None:
    make(tmp_path / "0.tar", array("AP%2Ex%25_101%2E8_111%2E8.vggish.npy", SOUND["video0_0_10"]))
    (source,) = open_tars((str(tmp_path),), "float16")
    assert list(source.places) == ["AP.x%_101.8_111.8"]


@pytest.mark.parametrize(
    "name", ["code.pyd", "a.pkl", "a.pickle", "a.pth", "a.pkl.gz", "a.vggish.npz", "a.vggish.npy.gz", "a"]
)
def test_any_other_member_is_refused_unopened(tmp_path: Path, name: str) -> None:
    make(tmp_path / "0.tar", only(name))
    with pytest.raises(Refusal, match=rf"'.*0\.tar' holds '{name}', which is not opened"):
        open_tars((str(tmp_path),), "float16")


def test_an_array_that_hides_a_pickle_is_a_bad_video_and_is_not_unpickled(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.mkdir, (str(tmp_path / "boom"),)

    make(tmp_path / "0.tar", array("a.clap.npy", np.array([[Bomb()]], dtype=object)))
    with pytest.raises(BadVideo, match=r"plain \.npy array, but '.*0\.tar: a\.clap\.npy' is not"):
        open_tars((str(tmp_path),), "float16")
    make(tmp_path / "0.tar", only("a.clap.npy", pickle.dumps(Bomb())))
    with pytest.raises(BadVideo, match=r"plain \.npy array, but '.*0\.tar: a\.clap\.npy' is not"):
        open_tars((str(tmp_path),), "float16")
    assert not (tmp_path / "boom").exists()


def test_a_header_that_claims_terabytes_is_a_bad_video(tmp_path: Path) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<f4", "fortran_order": False, "shape": (1 << 40, 1 << 3)})
    make(tmp_path / "0.tar", only("a.clap.npy", stream.getvalue() + bytes(64)))
    with pytest.raises(BadVideo, match=r"plain \.npy array, but '.*0\.tar: a\.clap\.npy' is not"):
        open_tars((str(tmp_path),), "float16")


def test_an_unescaped_dot_is_refused_with_the_name_to_take(tmp_path: Path) -> None:
    make(tmp_path / "0.tar", array("AP_101.8_111.8.vggish.npy", SOUND["video0_0_10"]))
    with pytest.raises(
        Refusal, match=r"holds 'AP_101\.8_111\.8\.vggish\.npy': rename it 'AP_101%2E8_111%2E8\.vggish\.npy'"
    ):
        open_tars((str(tmp_path),), "float16")


def test_a_member_without_a_feature_is_refused(tmp_path: Path) -> None:
    make(tmp_path / "0.tar", array("a.npy", SOUND["video0_0_10"]))
    with pytest.raises(Refusal, match=r"must name its feature.*holds 'a\.npy'"):
        open_tars((str(tmp_path),), "float16")


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_tars_are_refused(tmp_path: Path, mode: str) -> None:
    make(tmp_path / "0.tar", fill, mode)
    with pytest.raises(Refusal, match=r"'.*0\.tar' is compressed with"):
        open_tars((str(tmp_path),), "float16")


def test_a_key_that_comes_twice_is_refused_with_both_tars(tmp_path: Path) -> None:
    for name in ("0", "1"):
        make(tmp_path / f"{name}.tar", array("a.clap.npy", np.ones((10, 3))))
    with pytest.raises(Refusal, match=r"'a\.clap\.npy' is in '.*0\.tar' and '.*1\.tar'"):
        open_tars((str(tmp_path),), "float16")


@pytest.mark.parametrize(
    ("name", "found"), [("a/b.clap.npy", "'/'"), ("a\x07.clap.npy", r"'\\x07'"), (".clap.npy", "an empty key")]
)
def test_a_key_that_cannot_be_one_is_refused(tmp_path: Path, name: str, found: str) -> None:
    make(tmp_path / "0.tar", array(name, np.ones((10, 3))))
    with pytest.raises(Refusal, match=rf"{found}.* in '.*0\.tar'"):
        open_tars((str(tmp_path),), "float16")


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a..npy", "''"),
        ("a.__metadata__.npy", "'__metadata__'"),
        ("a.x/y.npy", "'x/y'"),
        ("a.x\x1b[2J.npy", r"'x\\x1b\[2J'"),
        ("a.x\udcff.npy", r"'x\\udcff'"),
    ],
)
def test_a_feature_that_cannot_be_one_is_refused(tmp_path: Path, name: str, found: str) -> None:
    make(tmp_path / "0.tar", array(name, np.ones((10, 3))))
    with pytest.raises(Refusal, match=rf"A feature's name must .* but {found} was found in '.*0\.tar': rename"):
        open_tars((str(tmp_path),), "float16")


def test_two_variants_of_vggish_are_refused_even_in_two_folders(tmp_path: Path) -> None:
    codes = GENERATOR.integers(0, 256, (10, 128)).astype(np.float32)
    make(tmp_path / "one" / "0.tar", array("a.vggish.npy", SOUND["video0_0_10"]))
    make(tmp_path / "two" / "0.tar", array("b.vggish.npy", codes))
    (source,) = open_tars((str(tmp_path / "one"), str(tmp_path / "two")), "float16")
    read(source, "a")
    with pytest.raises(
        Refusal, match=r"one variant of 'vggish', but '.*two/0\.tar: b\.vggish\.npy' is quantised"
    ) as refused:
        read(source, "b")
    assert not isinstance(refused.value, BadVideo)


def test_a_misshapen_array_is_a_bad_video_and_is_no_model_for_the_others(tmp_path: Path) -> None:
    def mixed(tar: tarfile.TarFile) -> None:
        add_array(tar, "a.clap.npy", np.ones((9, 5)))
        add_array(tar, "b.clap.npy", np.ones((10, 3)))

    make(tmp_path / "0.tar", mixed)
    (source,) = open_tars((str(tmp_path),), "float16")
    assert source.reader.feature.width == 3
    with pytest.raises(BadVideo, match=r"a\.clap\.npy' has shape \(9, 5\)"):
        read(source, "a")


def test_a_cut_tar_is_refused(tmp_path: Path) -> None:
    path = make(tmp_path / "0.tar", array("a.clap.npy", np.ones((10, 3))))
    path.write_bytes(path.read_bytes()[:1024])
    with pytest.raises(Refusal, match=r"'.*0\.tar'"):
        open_tars((str(tmp_path),), "float16")


def test_a_tar_that_is_cut_after_the_listing_is_an_error_and_no_bad_video(tmp_path: Path) -> None:
    path = make(tmp_path / "0.tar", array("a.clap.npy", np.ones((10, 3))))
    (source,) = open_tars((str(tmp_path),), "float16")
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(Refusal, match=r"'.*0\.tar' was cut") as refused:
        read(source, "a")
    assert not isinstance(refused.value, BadVideo)


def test_tars_without_arrays_are_refused(tmp_path: Path) -> None:
    make(tmp_path / "0.tar", only("a.txt"))
    with pytest.raises(Refusal, match=r"<key>\.<feature>\.npy, but '.*0\.tar' and all others hold none"):
        open_tars((str(tmp_path),), "float16")
