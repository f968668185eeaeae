"""The graph over hosts that share no disk is the graph of one host."""

import shutil

import numpy as np
import pytest

from graph.components import Components
from graph.forests.forest import Forest, components
from tests.cluster.runs import PYTHON, Bench

SETTINGS = ["--search.k", "8", "--search.batch", "100", "--threshold_audio", "0.9", "--job.threads", "1"]
THRESHOLDS = np.linspace(0.805, 0.995, 14)


@pytest.mark.timeout(1200)
def test_hosts_build_the_graph_that_one_host_builds_each_from_its_own_disk(bench: Bench) -> None:
    cluster = bench.cluster
    first, second = cluster.hosts[:2]
    for host in (first, second):
        shutil.copytree(bench.planted.shards, host.own / "site" / "corpus")
    site = ["--shards", str(cluster.site / "corpus"), "--tracking.root", str(cluster.site / "graph-runs"), *SETTINGS]
    over = ["--on", "hostfile", "--job.hostfile", str(cluster.hostfile(first, second, name="two.hosts"))]
    for out, where in (("alone", []), ("graph", over)):
        run = first.run([*PYTHON, "graph", *site, "--out", cluster.site / out, *where], timeout=600)
        assert run.returncode == 0, run.stdout
    alone, over_hosts = (first.own / "site" / out for out in ("alone", "graph"))
    for name in ("audio", "visual"):
        one, other = (Forest.load(folder / f"forest_{name}.parquet")[0] for folder in (alone, over_hosts))
        clear = [each for each in THRESHOLDS.tolist() if np.abs(one.edges.similarity - each).min() > 1e-5]
        assert len(clear) > 8
        for threshold in clear:
            np.testing.assert_array_equal(
                components(one.nodes, [one.cut(threshold)]), components(other.nodes, [other.cut(threshold)])
            )
    shards, _ = bench.planted.open()
    mine, theirs = (Components.load(folder, shards) for folder in (alone, over_hosts))
    np.testing.assert_array_equal(mine.ids, theirs.ids)
    assert not (second.own / "site" / "graph").exists(), "only rank 0 writes"
    left = {path.name for path in (second.own / "site").iterdir()}
    assert not {name for name in left if name.endswith(".part")}, left
