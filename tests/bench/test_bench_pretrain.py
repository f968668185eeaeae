"""The benchmark of pre-training runs, small, and its last line holds what it promises."""

import json

import pytest

from tests.bench import bench_pretrain

NAMES = (
    "videos_per_s step_s waiting_share loss_share gflop_per_s product_share flop_utilisation global_batch micro_batch "
    "precision threads"
)


def test_the_benchmark_ends_with_every_number_of_every_run(
    capsys: pytest.CaptureFixture[str],
) -> None:
    bench_pretrain.main(["--videos", "160", "--steps", "1", "--runs", "debug", "debug_in_parts"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == {"device", "debug", "debug_in_parts"}
    for run, micro_batch in (("debug", None), ("debug_in_parts", 32)):
        assert set(found[run]) == set(NAMES.split())
        assert (found[run]["global_batch"], found[run]["micro_batch"]) == (128, micro_batch)
        assert found[run]["videos_per_s"] * found[run]["step_s"] == pytest.approx(128, rel=0.01)
        assert 0 < found[run]["waiting_share"] < 1
        assert 0 < found[run]["loss_share"] < 1
        assert found[run]["gflop_per_s"] > 0
