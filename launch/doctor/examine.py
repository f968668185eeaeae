"""python -m launch doctor [--hosts FILE] [--shards DIR] [--tracking.uri http://HOST:5000]

Says what is wrong with this machine, or with the hosts of a file, and what to do; exit code 1 when something failed.
"""

import sys
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal

from pydantic import Field

from launch.doctor import cluster, devices, inputs, network, ops, software, storage, store
from launch.doctor.bounded import examine
from launch.doctor.finding import Check, Finding, Report
from launch.doctor.table import show, worst
from launch.launchers.hostfile import read_hostfile
from launch.progress import say
from launch.settings import Settings
from launch.tracking import Tracking


class Config(Settings):
    """Says what is wrong with this machine or cluster and what to do about it; exit code 1 when something failed."""

    hosts: Path | None = Field(
        None, description="file of hosts (`NAME slots=N` a line) to look at as well, over ssh; none: this machine alone"
    )
    shards: str = Field("", description="folder or URL of shards that must be there, the same on every host")
    out: Path = Field(Path(), description="folder that runs write to, whose disk must have room")
    interface: str = Field("", description="network interface that ranks meet over; empty: the one that gloo finds")
    measure: bool = Field(True, description="whether bandwidth and latency between the hosts are measured")
    clear_locks: bool = Field(False, description="whether locks that a killed compiler left are removed")
    patience: float = Field(30.0, gt=0, description="seconds a check may take, on each host")
    report: Literal["table", "json"] = Field(
        "table", description="for people, or a line a host for programs, such as another host's doctor"
    )
    tracking: Tracking = Tracking()

    def words(self) -> list[str]:
        """The options for the doctor of another host, which looks at itself alone."""
        chosen = {"shards": self.shards, "out": str(self.out), "interface": self.interface}
        chosen |= {"patience": f"{self.patience:g}", "clear_locks": str(self.clear_locks)}
        chosen |= {"tracking.root": str(self.tracking.root), "tracking.uri": self.tracking.uri}
        return [word for name, value in chosen.items() if value for word in (f"--{name}", value)]


def main(config: Config) -> None:
    """Looks, and shows what was found; SystemExit with 1 when something failed."""
    reports = _of_hosts(config, config.hosts) if config.hosts else [Report.of_this_machine(here(config))]
    if config.report == "json":
        for report in reports:
            say(report.to_json())
    else:
        show(reports)
    if worst(reports) == "failed":
        sys.exit(1)


def _of_hosts(config: Config, file: Path) -> list[Report]:
    """A report a host, and one of this machine where it is none of them, compared with one another."""
    hosts = read_hostfile(file)
    if config.report == "table":
        count = f"{len(hosts)} hosts" if len(hosts) > 1 else "one host"
        say(f"Asking {count}: {', '.join(host.name for host in hosts)}.")
    programs = cluster.programs()
    if programs.state == "failed":
        return [Report.of_this_machine([programs, *here(config)])]
    reports = cluster.examine(hosts, config.words(), config.patience, config.interface, config.measure)
    if cluster.name_of_this(reports):
        return cluster.compared(reports)
    own = replace(Report.of_this_machine([programs, *here(config)]), host="here")
    return cluster.compared([*reports, own], beside=own.host)


def here(config: Config) -> list[Finding]:
    """What is found on this machine."""
    places = {"out": config.out}
    if not config.tracking.uri:
        places["runs"] = config.tracking.root
    checks: dict[str, Check] = {
        "software": software.check,
        "GPUs": devices.check,
        "compiled ops": partial(ops.check, config.clear_locks),
        "storage": partial(storage.check, places),
        "network": partial(network.check, config.interface, config.report == "json"),
        "MLflow": partial(store.check, config.tracking),
    }
    if config.shards:
        checks["shards"] = partial(inputs.check, config.shards)
    return examine(checks, config.patience)
