"""Training runs under the real launcher, resumes as if it had never stopped, and stops at a loss that is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from mlflow import MlflowClient

from graph.groups import GROUPS
from launch.digest import sha256_file
from launch.refusal import Refusal
from launch.tracking import Tracking
from launch.world import World
from pretrain import course
from pretrain.model import describe_encoder, load_encoder
from pretrain.train import Config, main
from shards.groups import Groups
from tests.pretrain.conftest import STEPS, VIDEOS, chosen, damage, weights


def launch_two(values: dict[str, Any], extensions: Path) -> str:
    """What a run under `python -m launch` and the deepspeed launcher said, on two processes."""
    flat = {k: v for k, v in values.items() if not isinstance(v, dict)}
    flat |= {f"{outer}.{k}": v for outer, inner in values.items() if isinstance(inner, dict) for k, v in inner.items()}
    words = [word for name, value in flat.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "launch", "pretrain", *words, "--job.processes", "2", "--job.threads", "1"]
    environment = os.environ | {"TORCH_EXTENSIONS_DIR": str(extensions)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("train")


@pytest.fixture(scope="module")
def whole(planted, runs: Path, folder: Path) -> str:  # type: ignore[no-untyped-def]
    """A run of two processes that never stopped; a lock lies where a killed compile of DeepSpeed's op leaves one."""
    lock = folder / "extensions" / "deepspeed_shm_comm" / "lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    return launch_two(chosen(planted, runs, folder / "whole"), folder / "extensions")


@pytest.fixture(scope="module")
def resumed(planted, runs: Path, folder: Path, whole: str) -> str:  # type: ignore[no-untyped-def]
    """The same run as if it had died after its fourth step, with that step's checkpoint torn."""
    for name in ("step-00000002", "step-00000004"):
        shutil.copytree(folder / "whole" / "checkpoints" / name, folder / "resumed" / "checkpoints" / name)
    torn = folder / "resumed" / "checkpoints" / "step-00000004" / "engine" / "00001.safetensors"
    torn.write_bytes(torn.read_bytes()[:-1])
    return launch_two(chosen(planted, runs, folder / "resumed"), folder / "extensions")


def test_two_processes_train_under_the_deepspeed_launcher_despite_a_killed_compile(whole: str, folder: Path) -> None:
    assert "49 to train on, 12 held out, 3 steps an epoch on 2 processes" in whole
    assert f"to '{folder / 'whole' / 'encoder'}'" in whole
    assert load_encoder(folder / "whole" / "encoder").settings.width == 16
    assert describe_encoder(folder / "whole" / "encoder").provenance["steps"] == STEPS


def test_nothing_was_compiled(whole: str, folder: Path) -> None:
    assert [path.name for path in (folder / "extensions").rglob("*")] == ["deepspeed_shm_comm", "lock"]


def test_a_torn_checkpoint_is_passed_over_and_the_one_before_is_used(resumed: str) -> None:
    assert "step-00000004': 'engine/00001.safetensors' is not as it was written." in resumed
    assert "Resumed after step 2 from" in resumed


def test_two_resumed_processes_end_bit_for_bit_like_two_that_never_stopped(resumed: str, folder: Path) -> None:
    expected, found = weights(folder / "whole"), weights(folder / "resumed")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize("stage", [0, 3])
def test_a_run_stopped_at_any_step_goes_on_bit_for_bit(
    planted, runs: Path, alone: World, tmp_path: Path, stage: int
) -> None:  # type: ignore[no-untyped-def]
    for name, stops in (("whole", (None,)), ("parts", (1, 3, None))):
        for stop in stops:
            given = chosen(planted, runs, tmp_path / name) | {"stop_after": stop, "engine": {"zero_stage": stage}}
            main(Config.model_validate(given))
    expected, found = weights(tmp_path / "whole"), weights(tmp_path / "parts")
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"seed": 1}, r"'seed' is 0 in .* and 1 now: restore --seed,"),
        ({"steps": None, "epochs": 4}, r"'steps' is 6 in .* and 12 now: restore --epochs or --steps,"),
    ],
)
def test_a_run_with_other_settings_does_not_resume(
    planted, runs: Path, alone: World, tmp_path: Path, change: dict[str, Any], sentence: str
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path)
    main(Config.model_validate(given | {"stop_after": 2}))
    with pytest.raises(Refusal, match=sentence):
        main(Config.model_validate(given | change))


def test_a_run_that_ran_out_of_memory_goes_on_with_what_takes_less(
    planted, runs: Path, alone: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path)
    main(Config.model_validate(given | {"stop_after": 2}))
    less = {"loss": {"tile": 64, "exchange": "ring"}, "engine": given["engine"] | {"recompute": True, "zero_stage": 2}}
    less |= {"batches": given["batches"] | {"micro_batch": 5}}
    main(Config.model_validate(given | {"stop_after": 1} | less))
    assert "Resumed after step 2 from" in capsys.readouterr().out


def test_the_number_of_loader_processes_changes_no_weight_and_refuses_no_resume(
    planted, runs: Path, alone: World, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    batches = {"global_batch": 20, "window": 2, "per_group": 3}
    for name, workers in (("alone", (0, 0)), ("helped", (2, 1))):
        given = chosen(planted, runs, tmp_path / name)
        for number, stop in zip(workers, (4, None), strict=True):
            main(Config.model_validate(given | {"batches": batches | {"workers": number}, "stop_after": stop}))
    expected, found = weights(tmp_path / "alone"), weights(tmp_path / "helped")
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    provenance = describe_encoder(tmp_path / "helped" / "encoder").provenance
    groups = Groups.read(planted.components / GROUPS, VIDEOS, 3)
    assert provenance["groups"] == groups.digest
    assert provenance["batches"] == batches | {"held_out": 64}


@pytest.mark.parametrize(("change", "name"), [({"window": 1}, "batches.window"), ({"per_group": 2}, "groups")])
def test_another_order_does_not_resume(
    planted, runs: Path, alone: World, tmp_path: Path, change: dict[str, int], name: str
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path)
    main(Config.model_validate(given | {"stop_after": 2}))
    with pytest.raises(Refusal, match=f"'{name}' is"):
        main(Config.model_validate(given | {"batches": given["batches"] | change}))


def test_skipped_videos_of_all_ranks_are_counted_and_listed_once(
    planted, runs: Path, folder: Path, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    shards = shutil.copytree(planted.shards, tmp_path / "damaged")
    bad = [damage(shards, "video007_0_10"), damage(shards, "video030_0_10")]
    given = chosen(planted, runs, tmp_path / "out") | {"shards": shards, "reading": {"on_bad": "skip"}}
    said = launch_two(given | {"tracking": {"root": runs, "experiment": "damaged"}}, folder / "extensions")
    assert "Skipped 2 videos, which are listed in the run's skipped.txt." in said
    client = MlflowClient(Tracking(root=runs).store)
    (run,) = client.search_runs([client.get_experiment_by_name("damaged").experiment_id])
    assert run.data.metrics["skipped_videos"] == 2
    path = client.download_artifacts(run.info.run_id, "skipped.txt", str(tmp_path))
    told = Path(path).read_text().splitlines()
    assert len(told) == 2
    assert all(key in line for key, line in zip(bad, told, strict=True))


def test_a_run_that_dies_has_listed_what_it_skipped_before_its_last_checkpoint(
    planted, runs: Path, alone: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    shards = shutil.copytree(planted.shards, tmp_path / "damaged")
    bad = [damage(shards, "video007_0_10"), damage(shards, "video030_0_10")]
    given = chosen(planted, runs, tmp_path / "out") | {"shards": shards, "reading": {"on_bad": "skip"}}
    step = course.train_step

    def dying(engine: Any, batch: Any, number: int, *rest: Any) -> dict[str, float]:
        if number == 5:
            raise KeyboardInterrupt
        return step(engine, batch, number, *rest)

    monkeypatch.setattr(course, "train_step", dying)
    with pytest.raises(KeyboardInterrupt):
        main(Config.model_validate(given | {"tracking": {"root": runs, "experiment": "dying"}}))
    client = MlflowClient(Tracking(root=runs).store)
    (run,) = client.search_runs([client.get_experiment_by_name("dying").experiment_id])
    path = client.download_artifacts(run.info.run_id, "skipped.txt", str(tmp_path))
    told = Path(path).read_text().splitlines()
    assert (run.info.status, run.data.metrics["skipped_videos"]) == ("KILLED", len(told))
    assert all(key in line for key, line in zip(bad, told, strict=True))


def test_a_run_that_meets_no_bad_video_says_that_it_skipped_none(
    planted, runs: Path, alone: World, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path) | {"steps": 1, "tracking": {"root": runs, "experiment": "whole"}}
    main(Config.model_validate(given))
    client = MlflowClient(Tracking(root=runs).store)
    (run,) = client.search_runs([client.get_experiment_by_name("whole").experiment_id])
    assert run.data.metrics["skipped_videos"] == 0
    assert "skipped.txt" not in [each.path for each in client.list_artifacts(run.info.run_id)]


def test_a_run_names_its_newest_checkpoint_by_path_and_digest(
    planted, runs: Path, alone: World, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path) | {"steps": 2, "tracking": {"root": runs, "experiment": "kept"}}
    main(Config.model_validate(given))
    client = MlflowClient(Tracking(root=runs).store)
    (run,) = client.search_runs([client.get_experiment_by_name("kept").experiment_id])
    newest = tmp_path / "checkpoints/step-00000002"
    told = (run.data.tags["checkpoint"], run.data.tags["checkpoint.digest"])
    assert told == (str(newest), sha256_file(newest / "files.json"))
    assert run.data.tags["output.encoder"] == describe_encoder(tmp_path / "encoder").digest
    assert run.data.tags["input.components"] == sha256_file(Path(given["components"]) / "components.safetensors")


def test_a_run_that_starts_over_leaves_no_encoder_of_the_one_before(
    planted, runs: Path, alone: World, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path) | {"steps": 2}
    main(Config.model_validate(given))
    assert "goes on from there" not in capsys.readouterr().out
    main(Config.model_validate(given | {"seed": 1, "replace": True, "stop_after": 1}))
    assert not (tmp_path / "encoder").exists()
    assert [path.name for path in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000001"]
    assert "the same command without --replace goes on from there" in capsys.readouterr().out


def test_one_process_keeps_to_its_threads(planted, runs: Path, alone: World, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    before = torch.get_num_threads()
    wanted = 3 - min(before, 2)
    try:
        main(Config.model_validate(chosen(planted, runs, tmp_path) | {"steps": 1, "job": {"threads": wanted}}))
        assert torch.get_num_threads() == wanted
    finally:
        torch.set_num_threads(before)


def test_a_loss_that_is_not_finite_stops_before_the_step_and_names_the_videos(
    planted, runs: Path, alone: World, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path / "out")
    given |= {"engine": {"learning_rate": 1e37, "warm_up": 0, "clip": 0}, "checkpoints": {"every": 1}}
    given["batches"] |= {"held_out": 0}
    with pytest.raises(
        Refusal, match=r"must be finite, but is nan at step 1, .* not: video\d{3}_0_10, .* and 15 more;"
    ):
        main(Config.model_validate(given))
    assert (tmp_path / "out" / "checkpoints" / "latest").read_text() == "step-00000001"


def test_weights_that_ran_away_are_not_saved(planted, runs: Path, alone: World, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path / "out")
    given |= {"engine": {"learning_rate": 1e37, "warm_up": 0, "clip": 0}, "checkpoints": {"every": 1}}
    with pytest.raises(
        Refusal, match=r"held-out videos must be finite, but those of 12 of 12 are not, video\d{3}_0_10"
    ):
        main(Config.model_validate(given))
    assert not list((tmp_path / "out" / "checkpoints").glob("step-*"))


def test_a_run_whose_positives_mean_nothing_is_stopped_by_an_alarm(
    planted, runs: Path, alone: World, tmp_path: Path
) -> None:  # type: ignore[no-untyped-def]
    given = chosen(planted, runs, tmp_path / "out") | {"alarms": {"after": 2, "auc": 0.99999}}
    with pytest.raises(Refusal, match=r"at step 2 their AUC is 0\.\d{3}, below alarms\.auc"):
        main(Config.model_validate(given))
    assert not list((tmp_path / "out" / "checkpoints").glob("step-*"))
