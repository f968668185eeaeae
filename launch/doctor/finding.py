"""Findings: what a check saw, whether that is well, and what to do where it is not."""

import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Literal

State = Literal["fine", "doubtful", "failed"]
STATES: tuple[State, ...] = ("fine", "doubtful", "failed")


@dataclass(frozen=True)
class Finding:
    """One line of the table."""

    check: str
    """What was looked at, in a word or two."""
    found: str
    state: State = "fine"
    remedy: str = ""
    """What to do, as a sentence without a capital; there is one wherever the state is not fine."""
    same: str = ""
    """What must be equal on every host of a run; empty: hosts may differ."""

    def __post_init__(self) -> None:
        assert self.state == "fine" or self.remedy, f"a finding that is not fine has a remedy: {self}"


Check = Callable[[], list[Finding]]


def fine(check: str, found: str, same: str = "") -> Finding:
    """What is as it should be."""
    return Finding(check, found, same=same)


def doubtful(check: str, found: str, remedy: str, same: str = "") -> Finding:
    """What works, but perhaps not as it should."""
    return Finding(check, found, "doubtful", remedy, same)


def failed(check: str, found: str, remedy: str, same: str = "") -> Finding:
    """What will stop a run, or spoil it."""
    return Finding(check, found, "failed", remedy, same)


@dataclass(frozen=True)
class Report:
    """What was found on one host."""

    host: str
    """What it is called by whoever asks: its own name, or that in the file of hosts."""
    findings: tuple[Finding, ...]
    machine: str = ""
    """What it calls itself."""

    def to_json(self) -> str:
        """The report in one line."""
        findings = [asdict(each) for each in self.findings]
        return json.dumps({"host": self.host, "machine": self.machine, "findings": findings})

    @classmethod
    def from_json(cls, host: str, line: str) -> "Report":
        """The report of a host; raises ValueError for anything else."""
        try:
            values = json.loads(line)
            findings = tuple(Finding(**each) for each in values["findings"])
            if not all(each.state in STATES for each in findings):
                raise ValueError("a state is not known")
            return cls(host, findings, str(values["machine"]))
        except (KeyError, TypeError, AssertionError) as error:
            raise ValueError(f"not a report: {error}") from None

    @classmethod
    def of_this_machine(cls, findings: Sequence[Finding]) -> "Report":
        """What was found here."""
        return cls(socket.gethostname(), tuple(findings), socket.gethostname())
