"""One rank on a host of its own: it holds the run open until rank 0 has seen the load of all hosts in the store."""

import sys
import time
from pathlib import Path

from mlflow import MlflowClient

from launch.settings import Settings
from launch.tracking import Tracking, run
from launch.world import World

root, hosts = Path(sys.argv[1]), sys.argv[2].split(",")
world = World.from_environment(0)
tracking = Tracking(root=root, system_interval=0.1)


def seen(run_id: str) -> bool:
    """Whether every host has two points of each kind at least."""
    client = MlflowClient(tracking.store)
    kinds = ("cpu_utilization_percentage", "disk_usage_percentage")
    names = [f"system/{host}/{kind}" for host in hosts for kind in kinds]
    return all(len(client.get_metric_history(run_id, name)) > 1 for name in names)


with run(tracking, "pretrain", Settings(), leads=world.leads) as record:
    end = time.monotonic() + 60
    while world.leads and not seen(record.run_id):
        assert time.monotonic() < end, "the load of some host never came"
        time.sleep(0.05)
    world.barrier()
world.close()
