"""Real hosts for the tests of a cluster; without root or Debian's packages they are skipped, with the reason."""

from collections.abc import Iterator

import pytest

from tests.cluster.hosts import Cluster, why_not


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
