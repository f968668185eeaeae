"""Delivery: operations of a journal are done in the store, each once, however often they are sent.

A point keeps the time at which it was made: a store knows one that comes again by it. A start that goes on with a run
repeats steps that an earlier one had recorded; those points are known by metric and step, and the earlier ones stand.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from launch.refusal import Refusal
from launch.tracking import lineage
from launch.tracking.journal import Journal, Operation
from launch.tracking.settings import PARENT
from launch.tracking.shelf import parked
from launch.tracking.store import BEGUN_AS, NotYet, Unreachable, answered, experiment_id, find

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

MOST = 1000
"""Points that a store takes at once."""
FILES = ("text", "artifact")
"""Operations that write files, often to another place than the rest: points do not wait for them."""
CHANGED = "changed."
"""How the tags begin that tell how a setting changed from start to start."""


class Delivery:
    """What one journal's operations become in a store."""

    def __init__(self, client: "MlflowClient", journal: Journal, root: Path, live: bool) -> None:
        """`live`: by the process that makes them, which sends everything that was not sent before in its order."""
        self._client, self._journal, self._root, self._live = client, journal, root, live
        self._last: dict[str, int] = {}
        self._there: dict[str, set[int]] = {}
        self.performed = 0
        """Operations that were done."""
        self.refused: list[str] = []
        """What the store would not take, and why."""

    def perform(self, operations: Sequence[Operation]) -> Iterator[int]:
        """How many are done, as it grows; raises Unreachable where the store does not answer."""
        points: list[Metric] = []
        put_off = ""
        before = self.performed
        for done, operation in enumerate(operations):
            if operation["do"] == "metrics":
                points += self._fresh(operation)
                self.performed += 1
                if len(points) >= MOST:
                    self._send(points)
                    points = []
                    yield done + 1
                continue
            if points:
                self._send(points)
                points = []
                yield done
            put_off = self._try(operation, alone=len(operations) == 1) or put_off
            yield done + 1
        self._send(points)
        yield len(operations)
        if put_off and self.performed == before:
            raise Unreachable(put_off)

    def _try(self, operation: Operation, alone: bool) -> str:
        """Does one operation. A file that cannot be stored goes behind all others, unless there are none; then why."""
        try:
            self._carry_out(operation)
        except Unreachable as error:
            if alone or operation["do"] not in FILES:
                raise
            self._journal.append(operation, always=True)
            return str(error)
        self.performed += 1
        return ""

    def _carry_out(self, operation: Operation) -> None:
        act = getattr(self, f"_do_{operation['do']}", None)
        if act is None:
            self.refused.append(f"an operation that cannot be read ({operation['do']})")
            return
        with answered() as answer:
            try:
                act(operation)
            except (TypeError, LookupError, AttributeError) as error:  # sent again it would fail again
                answer.refusal = f"{type(error).__name__}: {error}"
        if answer.refusal and operation["do"] == "begin":
            raise Unreachable(answer.refusal)  # nothing of the run can be there before it is
        if answer.refusal:
            self.refused.append(f"{operation['do']} ({answer.refusal})")

    def _do_begin(self, operation: Operation) -> None:
        tags = dict(operation["tags"])
        if parent := tags.get(PARENT):
            tags[PARENT] = self._parent(parent)
        found = find(self._client, operation["id"])
        if found is None:
            experiment = self._experiment(operation)
            tags[BEGUN_AS] = operation["id"]
            created = self._client.create_run(experiment, int(operation["time"]), tags, operation["name"])
            self._journal.became(created.info.run_id)
            return
        self._journal.became(found.info.run_id)
        self._last = {point.key: point.step for point in found.data._metric_objs}  # the only way to their steps
        for name, value in tags.items():
            if found.data.tags.get(name) != value:
                self._client.set_tag(found.info.run_id, name, value)
        if self._live and found.info.status != "RUNNING":
            self._client.update_run(found.info.run_id, "RUNNING")

    def _experiment(self, operation: Operation) -> str:
        """The experiment's id; one that was deleted may be restored, and refuses no stage that has another."""
        try:
            return experiment_id(self._client, operation["experiment"], operation["artifacts"])
        except Refusal as refusal:
            raise NotYet(str(refusal).rstrip(".")) from None

    def _parent(self, run_id: str) -> str:
        """The id that a parent has in the store: one that could not begin there is known by its first id."""
        found = find(self._client, run_id)
        if found is None and parked(self._root, run_id):
            raise NotYet(f"the run {run_id}, of which this one is part, is not there yet")
        return found.info.run_id if found else run_id

    def _do_params(self, operation: Operation) -> None:
        """Parameters cannot change: where a later start has another value, a tag tells all there were."""
        from mlflow.entities import Param, RunTag

        run = self._run()
        given = {name: str(value)[:6000] for name, value in operation["values"].items()}
        fresh = [Param(name, value) for name, value in given.items() if name not in run.data.params]
        for start in range(0, len(fresh), 100):
            self._client.log_batch(self._journal.target, params=fresh[start : start + 100])
        tags = [RunTag(CHANGED + name, told) for name, told in _changes(run, given).items()]
        for start in range(0, len(tags), 100):
            self._client.log_batch(self._journal.target, tags=tags[start : start + 100])

    def _do_tags(self, operation: Operation) -> None:
        for name, value in operation["values"].items():
            self._client.set_tag(self._journal.target, name, value)

    def _do_text(self, operation: Operation) -> None:
        self._client.log_text(self._journal.target, operation["content"], operation["name"])

    def _do_dataset(self, operation: Operation) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        told = ("name", "digest", "source_type", "source", "schema", "profile")
        dataset = Dataset(*(operation[name] for name in told))
        tags = [InputTag("mlflow.data.context", operation["context"])]
        self._client.log_inputs(self._journal.target, [DatasetInput(dataset, tags)])

    def _do_links(self, operation: Operation) -> None:
        run = self._run()
        if lineage.is_own(run.data.tags.get(lineage.NOTE, "")):
            self._client.set_tag(self._journal.target, lineage.NOTE, lineage.describe(self._client, run))

    def _do_artifact(self, operation: Operation) -> None:
        path = Path(operation["path"])
        if path.is_dir():
            self._client.log_artifacts(self._journal.target, str(path), path.name)
        else:
            self._client.log_artifact(self._journal.target, str(path))
        self._journal.files.forget(path)

    def _do_end(self, operation: Operation) -> None:
        if not operation.get("unless_ended") or self._run().info.status == "RUNNING":
            self._client.set_terminated(self._journal.target, operation["status"], int(operation["time"]))

    def _run(self) -> "Run":
        return self._client.get_run(self._journal.target)

    def _fresh(self, operation: Operation) -> "list[Metric]":
        """The points that are not known to be there, as an earlier start or a sending without an answer left them."""
        from mlflow.entities import Metric

        step, time = int(operation["step"]), int(operation["time"])
        values: Mapping[str, Any] = operation["values"]
        return [Metric(name, float(value), time, step) for name, value in values.items() if self._is_new(name, step)]

    def _is_new(self, name: str, step: int) -> bool:
        if self._live:
            return step > self._last.get(name, step - 1)
        there = self._steps(name)
        new = step not in there
        there.add(step)
        return new

    def _steps(self, name: str) -> set[int]:
        if name not in self._there:
            with answered():
                history = self._client.get_metric_history(self._journal.target, name)
                self._there[name] = {point.step for point in history}
        return self._there.setdefault(name, set())

    def _send(self, points: "Sequence[Metric]") -> None:
        """Sends points; where the store refuses one of them, all others."""
        for start in range(0, len(points), MOST):
            part = points[start : start + MOST]
            with answered() as answer:
                self._client.log_batch(self._journal.target, metrics=part)
            if answer.refusal and len(part) > 1:
                self._send(part[: len(part) // 2])
                self._send(part[len(part) // 2 :])
            elif answer.refusal:
                self.refused.append(f"the point {part[0].key} at step {part[0].step} ({answer.refusal})")


def _changes(run: "Run", given: Mapping[str, str]) -> dict[str, str]:
    """Setting → all values there were, in their order, for those that differ from what was last."""
    found = {}
    for name, value in given.items():
        before = run.data.tags.get(CHANGED + name, run.data.params.get(name, value))
        if before.split(" → ")[-1] != value:
            found[name] = f"{before} → {value}"[-8000:]
    return found
