"""The life of a run, from its first line to a truthful status, whatever ends it."""

import contextlib
import json
import shlex
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from launch.progress import say
from launch.ranks import watch
from launch.ranks.roster import Roster
from launch.settings import Settings
from launch.termination import terminated_as_exit
from launch.tracking import facts, machine
from launch.tracking.begin import begun
from launch.tracking.journal import Journal
from launch.tracking.record import Record
from launch.tracking.redact import redacted_address
from launch.tracking.replay import replay
from launch.tracking.settings import Tracking
from launch.tracking.store import Unreachable, answered, connect, find
from launch.tracking.writer import Writer

BESIDE: Any = {"tracking": True, "job": {"slurm", "kubernetes"}}
"""Settings that no run is compared by: they are in settings.json, and no parameters."""
LAST = 2.0
"""Seconds that a process waits for a store that was silent before, or that ends without unwinding."""


@contextlib.contextmanager
def run(tracking: Tracking, stage: str, settings: Settings, leads: bool = True, resume: str = "") -> Iterator[Record]:
    """One MLflow run around a stage; it holds the resolved settings and ends with a truthful status.

    FINISHED at a clean end, FAILED on an exception, KILLED on an interrupt, SIGTERM, SIGHUP or an asked-for exit.
    `resume` is the id of a run to go on with, in which these settings were logged before; where the store does not
    have it, a new one begins, and a sentence says so. A store that does not answer stops nothing: the run is kept in
    the journal under the root, and sent when it answers, or by `python -m launch sync`.
    """
    if not leads:
        with machine.sampled(Record(None), tracking.system_interval):
            yield Record(None)
        return
    writer = begun(tracking, stage, resume)
    run_id = writer.journal.run_id
    if roster := Roster.of_environment():
        roster.note_run(tracking.place, run_id)
    status = "FAILED"
    try:
        with terminated_as_exit(), watch.last_words(lambda *_: _fail_at_once(writer, tracking)):
            record = Record(writer, run_id, tracking.store, tracking.wait)
            _log_settings(record, settings)
            facts.note(record, stage)
            with machine.sampled(record, tracking.system_interval):
                yield record
        status = "FINISHED"
    except (KeyboardInterrupt, SystemExit):
        status = "KILLED"
        raise
    finally:
        _end(writer, tracking, status)


def mark(place: str, run_id: str, status: str) -> None:
    """Ends a run with a status where nobody else could, since its process was killed; others stay as they are.

    `place`: where the run is, as its `Tracking.place` says.
    """
    root, store = json.loads(place)
    replay(Path(root), store, run_id, status)
    with contextlib.suppress(Unreachable), answered():  # its journal keeps the status
        client = connect(store)
        found = find(client, run_id)
        if found and found.info.status == "RUNNING":
            client.set_terminated(found.info.run_id, status)


def _end(writer: Writer, tracking: Tracking, status: str) -> None:
    """Writes the status, and waits for the store; says what it does not have then."""
    journal = writer.journal
    answers = writer.drain(tracking.wait)  # what the store refuses is known only then
    if journal.dropped:
        writer.put({"do": "tags", "values": {"dropped": str(journal.dropped)}}, always=True)
        say(f"{journal.dropped:,} points and files of this run were dropped; its tag 'dropped' says so.")
    complete = writer.end(status, tracking.wait if answers else min(LAST, tracking.wait))
    writer.close()
    if not complete:
        _say_what_is_left(journal, tracking)
    journal.close(delete=complete)


def _fail_at_once(writer: Writer, tracking: Tracking) -> None:
    writer.end("FAILED", min(LAST, tracking.wait))


def _say_what_is_left(journal: Journal, tracking: Tracking) -> None:
    lost = journal.unwritten
    kept = journal.left - lost
    say(
        f"The store {redacted_address(tracking.store)} lacks {kept:,} operations of this run, which are kept in "
        f"'{journal.path}': `python -m launch sync --root {tracking.root}` sends them, and so does the next stage."
    )
    if lost:
        say(f"{lost:,} operations are lost: neither the store nor the disk of '{journal.path}' took them.")


def _log_settings(record: Record, settings: Settings) -> None:
    record.text("settings.json", settings.model_dump_json(indent=2))
    record.tags({"command": shlex.join(["python", "-m", "launch", *sys.argv[1:]])})
    record.parameters(_flatten(settings.model_dump(mode="json", exclude=BESIDE)))


def _flatten(values: Mapping[str, object], prefix: str = "") -> dict[str, object]:
    flat: dict[str, object] = {}
    for name, value in values.items():
        flat |= _flatten(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": value}
    return flat
