"""Export writes the encoder's own embeddings of every video, in the layout it read."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mlflow import MlflowClient
from mlflow.entities import Run
from torch.nn.functional import normalize

from launch import atomic
from launch.refusal import Refusal
from launch.tracking import Tracking
from pretrain import export
from pretrain.export import Config, main
from pretrain.model import ModelSettings, Transformer, describe_encoder, load_encoder, save_encoder
from shards.read import Shards, open_sets
from shards.schema import Feature, Video
from shards.write import Writer
from tests.pretrain.conftest import VIDEOS, damage

WIDTHS = {"vggish": 8, "resnet152": 12, "r2plus1d_18": 6}
NAMES = ("pretrained_audio", "pretrained_visual")


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    settings = ModelSettings(layers=2, width=16, heads=2)
    save_encoder(tmp_path / "encoder", Transformer(settings, WIDTHS).state_dict(), settings, WIDTHS, {})
    return tmp_path / "encoder"


def config(encoder: Path, shards: Path, runs: Path, **chosen: object) -> Config:
    given = {
        "encoder": encoder,
        "shards": shards,
        "out": encoder.parent / "embedded",
        "batch": 9,
        "tracking": Tracking(root=runs),
    }

    return Config.model_validate({**given, **chosen})


@pytest.mark.parametrize("scale", ["layer_norm", "unit"])
def test_exported_shards_hold_the_encoders_embeddings_of_every_video(
    planted, runs: Path, encoder: Path, scale: str
) -> None:  # type: ignore[no-untyped-def]
    main(config(encoder, planted.shards, runs, scale=scale))
    read, found = Shards.open(planted.shards), Shards.open(encoder.parent / "embedded")
    assert found.keys == read.keys
    model = load_encoder(encoder).eval()
    every = range(len(read))
    features = {name: torch.from_numpy(array) for name, array in read.batch(every, list(WIDTHS)).features.items()}
    with torch.no_grad():
        expected = model(features)
    for name, rows in zip(NAMES, expected, strict=True):
        stored = found.batch(every, NAMES).features[name]
        assert (stored.dtype, stored.shape) == (np.float16, (len(read), 10, 16))
        exact = normalize(rows, dim=-1) if scale == "unit" else rows
        torch.testing.assert_close(torch.from_numpy(stored).float(), exact, rtol=1e-3, atol=1e-3)


def test_the_manifest_tells_which_encoder_made_it_from_which_shards(planted, runs: Path, encoder: Path) -> None:  # type: ignore[no-untyped-def]
    main(config(encoder, planted.shards, runs))
    manifest = Shards.open(encoder.parent / "embedded").manifest
    assert manifest.source["manifest"] == Shards.open(planted.shards).manifest.digest
    assert manifest.source["encoder"] == describe_encoder(encoder).digest
    assert all(manifest.source["encoder"] in manifest.features[name].source for name in NAMES)


def test_skipped_videos_of_all_sets_are_counted_listed_and_told_in_each_manifest(
    planted, runs: Path, encoder: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    sets = tmp_path / "sets"
    for name in ("train", "test"):
        shutil.copytree(planted.shards, sets / name)
    bad = [damage(sets / "train", "video003_0_10"), damage(sets / "train", "video041_0_10")]
    main(config(encoder, sets, runs, reading={"on_bad": "skip"}))
    written = open_sets(encoder.parent / "embedded")
    assert {name: len(each) for name, each in written.items()} == {"train": VIDEOS - 2, "test": VIDEOS}
    left_out = {name: each.manifest.source["left_out"] for name, each in written.items()}
    assert left_out == {"train": {"bad": 2}, "test": {"bad": 0}}
    run = last_run(runs)
    path = MlflowClient(Tracking(root=runs).store).download_artifacts(run.info.run_id, "skipped.txt", str(tmp_path))
    lines = Path(path).read_text().splitlines()
    assert run.data.metrics["skipped_videos"] == len(lines) == 2
    assert all(key in line for key, line in zip(bad, lines, strict=True))


def test_every_set_of_a_folder_is_exported_under_its_name(planted, runs: Path, encoder: Path, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    sets = tmp_path / "sets"
    sets.mkdir()
    for name in ("train", "test"):
        (sets / name).symlink_to(planted.shards)
    main(config(encoder, sets, runs))
    written = open_sets(encoder.parent / "embedded")
    assert set(written) == {"train", "test"}
    tags = last_run(runs).data.tags
    for name, each in written.items():
        assert tags[f"output.shards.{name}"] == each.manifest.digest
        assert tags[f"input.shards.{name}"] == Shards.open(planted.shards).manifest.digest
    assert tags["input.encoder"] == describe_encoder(encoder).digest


def last_run(runs: Path) -> Run:
    client = MlflowClient(Tracking(root=runs).store)
    experiment = client.get_experiment_by_name("soundsight")
    assert experiment
    return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"], max_results=1)[0]


def test_one_set_is_tagged_without_a_name(planted, runs: Path, encoder: Path) -> None:  # type: ignore[no-untyped-def]
    main(config(encoder, planted.shards, runs))
    tags = last_run(runs).data.tags
    assert tags["input.shards"] == Shards.open(planted.shards).manifest.digest
    assert tags["output.shards"] == Shards.open(encoder.parent / "embedded").manifest.digest


def test_an_output_that_is_there_is_refused_before_anything_is_read(
    planted, runs: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    main(config(encoder, planted.shards, runs))
    monkeypatch.setattr(export, "load_encoder", lambda folder: pytest.fail("the encoder was read"))
    monkeypatch.setattr(Shards, "batch", lambda *asked: pytest.fail("the shards were read"))
    with pytest.raises(Refusal, match="An output folder must be new or empty"):
        main(config(encoder, planted.shards, runs))


def test_a_run_whose_result_cannot_take_its_place_has_failed(
    planted, runs: Path, encoder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    out = encoder.parent / "embedded"
    rename = atomic.os.replace

    def replace(source: Path, target: Path) -> None:
        if Path(target) == out:
            raise OSError("no room")
        rename(source, target)

    monkeypatch.setattr(atomic.os, "replace", replace)
    with pytest.raises(OSError, match="no room"):
        main(config(encoder, planted.shards, runs))
    assert last_run(runs).info.status == "FAILED"
    assert not out.exists()


def test_shards_without_a_feature_the_encoder_reads_are_refused_before_anything_is_written(
    planted, runs: Path, encoder: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    main(config(encoder, planted.shards, runs))
    again = config(encoder, encoder.parent / "embedded", runs, out=tmp_path / "twice")
    with pytest.raises(Refusal, match="'vggish' is not in"):
        main(again)
    assert not (tmp_path / "twice").exists()


@pytest.mark.parametrize(("width", "variant"), [(9, "raw"), (8, "quantised")])
def test_features_of_another_width_or_variant_than_the_encoders_are_refused(
    runs: Path, tmp_path: Path, width: int, variant: str
) -> None:
    settings = ModelSettings(layers=1, width=8, heads=1, visual=("resnet152",))
    widths = {"vggish": 8, "resnet152": 12}
    trained = {"variants": {"vggish": "raw", "resnet152": ""}}
    save_encoder(tmp_path / "encoder", Transformer(settings, widths).state_dict(), settings, widths, trained)
    with Writer(tmp_path / "shards", [Feature("vggish", width, variant), Feature("resnet152", 12)], {}) as writer:
        writer.add(Video("a_0_10", {"vggish": np.ones((10, width)), "resnet152": np.ones((10, 12))}))
    with pytest.raises(Refusal, match=f"'vggish' is {width} wide and '{variant}' in .*8 wide and 'raw' in the encoder"):
        main(config(tmp_path / "encoder", tmp_path / "shards", runs))
    assert not (tmp_path / "embedded").exists()
