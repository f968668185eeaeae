"""The loss's benchmark runs, small; its two sides compute one loss, and its last line holds what it promises."""

import json

import pytest

from tests.bench import bench_loss

NAMES = "dense_mib tiled_mib memory_ratio dense_seconds tiled_seconds time_ratio active_positives active_negatives"


def test_the_benchmark_ends_with_every_number_and_both_sides_agree(capsys: pytest.CaptureFixture) -> None:
    bench_loss.main(["--snippets", "900", "--width", "128", "--rounds", "1"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    for prefix in ("", "start_"):
        assert all(found[prefix + name] > 0 for name in NAMES.split())
        assert found[f"{prefix}tiled_loss"] == pytest.approx(found[f"{prefix}dense_loss"], abs=2e-5)


def test_the_steps_of_a_tile_are_told_one_by_one(capsys: pytest.CaptureFixture) -> None:
    bench_loss.main(["--tiles"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert len(found) == 9
    assert all(value > 0 for value in found.values())
