"""The graph's benchmark and study run, small, and their last lines hold what they promise."""

import json

import pytest

from tests.bench import bench_graph, study_graph

NAMES = (
    "snippets seconds limit_seconds seconds_fast missed_merges_fast seconds_faiss peak_mib agreement agreement_fast "
    "sweep_seconds naive_ratio"
)


def test_the_benchmark_ends_with_every_number_and_agrees_with_brute_force(capsys: pytest.CaptureFixture) -> None:
    bench_graph.main(["--snippets", "6000", "--subset", "4000", "--naive", "2000"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(found) == set(NAMES.split())
    assert found["agreement"] == 1.0
    assert found["missed_merges_fast"] >= 0
    assert 0 < found["agreement_fast"] <= 1
    assert all(found[name] > 0 for name in NAMES.split() if name not in ("missed_merges_fast", "agreement_fast"))


def test_the_study_shows_that_the_literal_rule_chains_and_the_others_do_not(capsys: pytest.CaptureFixture) -> None:
    study_graph.main(["--snippets", "12000"])
    lines = capsys.readouterr().out.splitlines()
    rows = json.loads(lines[-1])["rows"]
    assert rows["literal rule, hubs excluded"]["wrong"] > 0.9
    assert rows["literal rule, hubs excluded"]["largest"] > 0.5
    for name in ("the same, refined", "per modality", "per modality, refined"):
        assert rows[name]["wrong"] < 0.05
        assert rows[name]["linked"] > 0.3
    table = [line for line in lines if line.startswith("| ")]
    assert [line.split(" | ")[0][2:] for line in table[-len(rows) :]] == list(rows)
