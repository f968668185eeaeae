"""Videos shorter than ten seconds are packed with zeros after their end, and every stage on the way takes them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from graph.build import Config as Graph
from graph.build import main as build
from graph.components import Components
from launch.refusal import Refusal
from launch.tracking import Tracking
from pretrain import export
from pretrain.model import ModelSettings, Transformer, load_encoder, save_encoder
from shards import verify
from shards.labels import Span, Tables
from shards.read import Shards
from shards.schema import seconds_of
from tests.shards.corpora import run
from tests.shards.foreign import example, write_tfrecord

KEYS = ("whole_0_10", "other whole_5_15", "seven_30_37", "five_2_7", "five too_2_6.5", "one_0_1")
FEATURES = {"vggish": (1, 128), "res152": (8, 2048)}
"""Rows a second, and width."""


@pytest.fixture
def short(tmp_path: Path) -> Path:
    """Videos of 10, 10, 7, 5, 5 and 1 seconds in LLP's layout, their arrays as long as they are."""
    dice = np.random.default_rng(0)
    for name, (rate, width) in FEATURES.items():
        (tmp_path / "feats" / name).mkdir(parents=True)
        for key in KEYS:
            array = dice.random((rate * seconds_of(key), width), np.float32) + 0.1
            np.save(tmp_path / "feats" / name / f"{key.rsplit('_', 2)[0]}.npy", array)
    (tmp_path / "tables").mkdir()
    Tables({"train": dict.fromkeys(KEYS, (0,)), "validation": {}, "test": {}}, {}, {}).write(tmp_path / "tables")
    return tmp_path


def load(short: Path, name: str, key: str) -> np.ndarray:
    return np.load(short / "feats" / name / f"{key.rsplit('_', 2)[0]}.npy")


def save(short: Path, name: str, key: str, array: np.ndarray) -> None:
    np.save(short / "feats" / name / f"{key.rsplit('_', 2)[0]}.npy", array)


@pytest.mark.parametrize(
    ("key", "seconds"),
    [
        ("a_0_10", 10), ("a_101.8_111.8", 10), ("a_30_37", 7), ("a_2_6.5", 5), ("a_0_0.5", 1), ("a_3_4.0001", 1),
        ("a_0_12", 10), ("a_5_5", 10), ("a_9_2", 10), ("a", 10), ("a_1", 10), ("-_a_b_7_8", 1),
    ],
)  # fmt: skip
def test_a_key_says_how_many_seconds_of_its_video_exist(key: str, seconds: int) -> None:
    assert seconds_of(key) == seconds


def test_the_truth_of_a_video_ends_with_it() -> None:
    tables = Tables({"train": {}, "validation": {}, "test": {}}, {key: (Span(0, 3, 10),) for key in KEYS}, {})
    audible, visible = tables.truth(KEYS)
    assert audible[:, 0].sum(axis=1).tolist() == [max(0, seconds_of(key) - 3) for key in KEYS]
    assert not visible.any()


def test_arrays_as_long_as_their_videos_are_padded_with_zeros(short: Path, runs: Path) -> None:
    run(short, runs, dtype="float32")
    shards = Shards.open(short / "out" / "train")
    for place, key in enumerate(KEYS):
        seconds = seconds_of(key)
        assert shards.keys[place] == key
        found = shards.read(place).features
        assert not found["vggish"][seconds:].any()
        assert not found["resnet152"][seconds:].any()
        assert np.array_equal(found["vggish"][:seconds], load(short, "vggish", key))
        expected = np.stack([rows.mean(axis=0) for rows in np.split(load(short, "res152", key), seconds)])
        np.testing.assert_allclose(found["resnet152"][:seconds], expected, rtol=1e-6)


def test_arrays_that_were_padded_to_ten_seconds_give_the_same_shards(short: Path, runs: Path) -> None:
    run(short, runs)
    for name, (rate, width) in FEATURES.items():
        for key in KEYS:
            padded = np.full((10 * rate, width), 5.0, np.float32)  # extractors repeat the last second, or make it up
            padded[: rate * seconds_of(key)] = load(short, name, key)
            save(short, name, key, padded)
    run(short, runs, out=short / "padded")
    tars = [(short / folder / "train" / "000000.tar").read_bytes() for folder in ("out", "padded")]
    assert tars[0] == tars[1]


def test_resnet_rows_that_were_averaged_before_are_taken_too(short: Path, runs: Path) -> None:
    save(short, "res152", "seven_30_37", np.ones((7, 2048), np.float32))
    run(short, runs)
    assert (Shards.open(short / "out" / "train").read(2).features["resnet152"].sum(axis=1) > 0).tolist() == (
        [True] * 7 + [False] * 3
    )


@pytest.mark.parametrize("rows", [6, 8, 9, 20])
def test_another_length_than_the_keys_or_ten_is_a_bad_video(short: Path, runs: Path, rows: int) -> None:
    save(short, "vggish", "seven_30_37", np.ones((rows, 128), np.float32))
    with pytest.raises(
        Refusal,
        match=rf"must have 10 rows, or 7 for the 7 s that its key says, .*seven\.npy' has shape \({rows}, 128\)",
    ):
        run(short, runs)
    run(short, runs, on_bad="skip")
    assert len(Shards.open(short / "out" / "train")) == len(KEYS) - 1


def test_a_short_array_of_a_whole_video_stays_a_bad_video(short: Path, runs: Path) -> None:
    save(short, "vggish", "whole_0_10", np.ones((7, 128), np.float32))
    with pytest.raises(Refusal, match=r"must have 10 rows, or a multiple of it, .*whole\.npy' has shape \(7, 128\)"):
        run(short, runs)


def test_a_short_record_of_the_tfrecord_release_is_padded_too(tmp_path: Path, runs: Path) -> None:
    codes = np.random.default_rng(0).integers(0, 256, (7, 128), np.uint8)
    write_tfrecord(tmp_path / "00.tfrecord", [example("abc", 30.0, 37.0, codes)])
    run(tmp_path, runs, features=None, tables=None, tfrecords=(str(tmp_path),), dtype="float32")
    found = Shards.open(tmp_path / "out").read(0).features["vggish"]
    np.testing.assert_allclose(found[:7], codes * (4 / 255) - 2, atol=1e-6)
    assert not found[7:].any()


def test_a_feature_of_any_name_takes_its_rows_a_second_from_its_first_array(tmp_path: Path, runs: Path) -> None:
    (tmp_path / "feats" / "clap").mkdir(parents=True)
    for key, rows in (("a_0_10", 20), ("b_0_5", 10), ("c_0_5", 20)):
        np.save(tmp_path / "feats" / "clap" / f"{key}.npy", np.arange(rows)[:, None] + np.ones((1, 3)))
    run(tmp_path, runs, tables=None)
    shards = Shards.open(tmp_path / "out")
    expected = [*np.arange(1.5, 10, 2), 0, 0, 0, 0, 0]
    assert [shards.read(place).features["clap"][:, 0].tolist() for place in (1, 2)] == [expected, expected]


def test_verify_finds_no_fault_and_takes_what_does_not_exist_for_no_silence(
    short: Path, runs: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(short, runs)
    verify.main(verify.Config(shards=str(short / "out"), statistics=True, processes=1))
    said = capsys.readouterr().out
    assert "no faults" in said
    line = next(line for line in said.splitlines() if line.startswith("vggish"))
    assert line.split()[3:5] == ["0.0%", "0.0%"], "share of zeros, share of silent seconds"


def test_the_graph_gives_seconds_that_do_not_exist_no_edges(short: Path, runs: Path) -> None:
    run(short, runs)
    cosines = {f"{name}_{modality}": 0.3 for name in ("floor", "threshold") for modality in ("audio", "visual")}
    given = {"shards": short / "out" / "train", "out": short / "graph", "tracking": Tracking(root=runs)}
    build(Graph.model_validate(given | cosines | {"steps": 2}))
    shards = Shards.open(short / "out" / "train")
    ids = Components.load(short / "graph", shards).ids.reshape(len(KEYS), 10, -1)
    sizes = np.bincount(ids[..., 0].ravel())
    absent = np.arange(10) >= np.array([seconds_of(key) for key in KEYS])[:, None]
    assert absent.mean() > 0.2, "more than the share of rows without signal that is believed of existing ones"
    assert (sizes[ids[absent, 0]] == 1).all()
    assert sizes.max() > 1


def test_export_writes_zeros_there_and_embeds_the_rest_as_if_the_video_were_cut(short: Path, runs: Path) -> None:
    run(short, runs)
    widths = {"vggish": 128, "resnet152": 2048}
    settings = ModelSettings(audio=("vggish",), visual=("resnet152",), layers=1, width=16, heads=2)
    torch.manual_seed(0)
    save_encoder(short / "encoder", Transformer(settings, widths).state_dict(), settings, widths, {})
    given = {"encoder": short / "encoder", "shards": short / "out", "out": short / "embedded"}
    export.main(export.Config.model_validate(given | {"tracking": Tracking(root=runs)}))
    raw, found = Shards.open(short / "out" / "train"), Shards.open(short / "embedded" / "train")
    encoder = load_encoder(short / "encoder").eval()
    for place, key in enumerate(KEYS):
        seconds, stored = seconds_of(key), found.read(place).features
        features = {name: torch.from_numpy(array).float() for name, array in raw.read(place).features.items()}
        with torch.inference_mode():
            cut = encoder({name: array[None, :seconds] for name, array in features.items()})
        for name, rows in zip(export.EMBEDDINGS, cut, strict=True):
            assert not stored[name][seconds:].any()
            np.testing.assert_allclose(stored[name][:seconds], rows[0].numpy(), rtol=2e-3, atol=2e-3)
