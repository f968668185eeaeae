"""Real hosts for the tests of a cluster; without root or Debian's packages they are skipped, with the reason."""

from collections.abc import Iterator

import pytest

from tests.cluster.hosts import Cluster, why_not
from tests.cluster.runs import Bench
from tests.pretrain.conftest import plant

TITLE = """two words, $HOME `id` 'q' "Q" \\ * ; %n"""
"""What a shell, pdsh and deepspeed would each make something else of."""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Four hosts that all tests of a session share; a test leaves them as it found them."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    made = Cluster(4, tmp_path_factory.mktemp("cluster"))
    try:
        yield made
    finally:
        made.close()


@pytest.fixture(scope="session")
def bench(cluster: Cluster) -> Bench:
    """A corpus that all hosts read."""
    return Bench(cluster, plant(cluster.shared / "corpus"))


@pytest.fixture(scope="session")
def finished(bench: Bench) -> Bench:
    """Runs that nothing disturbed: `alone` on one host without a launcher, `two` and `four` over so many hosts."""
    first, hosts = bench.cluster.hosts[0], bench.cluster.hosts
    for name, count in (("alone", 1), ("two", 2), ("four", 4)):
        file = bench.cluster.hostfile(*hosts[:count], name=f"{name}.hosts") if count > 1 else None
        run = first.run(bench.pretrain(name, file, "--tracking.name", TITLE), timeout=600)
        assert run.returncode == 0, run.stdout
    return bench
