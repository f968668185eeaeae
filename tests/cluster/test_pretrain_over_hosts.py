"""Pre-training over hosts is pre-training on one, whoever starts the ranks."""

import pytest
import torch
from mlflow import MlflowClient

from launch.tracking import Tracking
from tests.cluster.conftest import TITLE
from tests.cluster.runs import STEPS, Bench

pytestmark = pytest.mark.timeout(1800)


@pytest.mark.parametrize("name", ["two", "four"])
def test_losses_and_weights_over_hosts_are_those_of_one_process(finished: Bench, name: str) -> None:
    expected, found = finished.losses("alone"), finished.losses(name)
    assert sorted(found) == list(range(STEPS))
    assert found == pytest.approx(expected, rel=1e-4)
    weights = finished.weights("alone")
    for key, value in finished.weights(name).items():
        torch.testing.assert_close(value, weights[key], rtol=1e-3, atol=1e-4)


def test_words_reach_the_ranks_as_they_were_written(finished: Bench) -> None:
    client = MlflowClient(Tracking(root=finished.runs("two")).store)
    (run,) = client.search_runs([client.get_experiment_by_name("soundsight").experiment_id])
    assert run.info.run_name == f"pretrain {TITLE}"


def test_nothing_is_left_on_any_host(finished: Bench) -> None:
    assert [host.running("python") for host in finished.cluster.hosts] == [[]] * 4


def test_hosts_that_are_started_one_by_one_without_ssh_train_the_same(finished: Bench) -> None:
    cluster = finished.cluster
    file = cluster.hostfile(*cluster.hosts[:2], name="two.hosts")
    command = finished.pretrain("by-hand", file, "--job.no_ssh", "--job.node_rank")
    with cluster.hosts[0].started([*command, "0"]) as one, cluster.hosts[1].started([*command, "1"]) as other:
        said = [each.communicate(timeout=600)[0] for each in (one, other)]
    assert [one.returncode, other.returncode] == [0, 0], "\n".join(said)
    assert "1 processes on host2, one of 2 hosts" in said[1]
    expected, found = finished.weights("two"), finished.weights("by-hand")
    assert all(torch.equal(found[key], value) for key, value in expected.items())
