"""The course of a run: steps, looks at the held-out videos, checkpoints, in an order that a resumed start repeats."""

from collections.abc import Callable

from launch.banner import foretold
from launch.preemption import Stopped
from launch.progress import track
from launch.tracking import Record
from pretrain.batches import Batches
from pretrain.checkpoint import Checkpoints
from pretrain.config import Config
from pretrain.engine.engine import Engine
from pretrain.engine.speed import Speed
from pretrain.evaluation.alarms import sound
from pretrain.evaluation.held_out import HeldOut, score
from pretrain.skipped import Skipped
from pretrain.step import train_step


class Course:
    """A run between two of its steps. Every method is collective."""

    def __init__(
        self,
        config: Config,
        steps: int,
        engine: Engine,
        batches: Batches,
        checkpoints: Checkpoints,
        record: Record,
    ) -> None:
        """`steps`: of the whole run, however many starts it takes."""
        self._config, self._steps = config, steps
        self._engine, self._batches, self._checkpoints, self._record = engine, batches, checkpoints, record
        self._held_out = HeldOut.of(batches.held_out, config.loss, config.batches.micro_batch, config.tables)
        self._skipped = Skipped(batches.held_out.faults)
        self._speed = Speed(config.model, batches.widths(), config.loss, config.engine, engine.world)
        self._seen: tuple[int, dict[str, float]] = (-1, {})

    def go(self, start: int, stop: int, asked_to_stop: Callable[[], bool]) -> None:
        """Takes the steps from one to before another, with a checkpoint at the end.

        Raises Stopped after a checkpoint when the run is asked to stop, and Refusal when it learns nothing.
        """
        self._skipped.tell(start, self._record)
        parts = self._speed.reading(self._batches.from_step(start, stop))
        shown = track(parts, "Pre-training", stop - start, "steps")
        for step, batch in foretold(shown, stop - start, "Pre-training", "steps"):
            if step % self._config.evaluate_every == 0:
                self.look(step)
            self._skipped.add(batch.faults)
            seen = train_step(self._engine, batch, step, self._steps, self._config)
            self._record.metrics(step, seen | self._speed.point(batch.videos))
            asked = asked_to_stop()
            if asked or self._checkpoints.due(step + 1) or step + 1 == stop:
                self._save(step + 1, in_haste=asked)
            if asked and step + 1 < stop:
                raise Stopped(
                    f"after step {step + 1} of {self._steps}, as it was asked to: {self._config.how_to_go_on}."
                )

    def look(self, done: int) -> dict[str, float]:
        """What the held-out videos say after so many steps; raises Refusal when they say that nothing is learned."""
        if self._seen[0] != done:
            with self._speed.apart():
                self._seen = done, self._held_out.evaluate(self._engine)
            self._record.metrics(done, {f"held_out/{name}": value for name, value in self._seen[1].items()})
            most = self._held_out.most(self._config.model.width)
            if most and done >= self._quiet_until():
                sound(self._seen[1], most, done, self._config.alarms)
        return self._seen[1]

    def _save(self, done: int, in_haste: bool) -> None:
        """In haste nobody looks at held-out videos, so the checkpoint has no score: the time to stop may be short."""
        self._skipped.tell(done, self._record)
        found = {} if in_haste else self.look(done)
        with self._speed.apart():
            self._checkpoints.save(self._engine, done, self._record.run_id, score(found, self._config.loss.mode))
            if self._engine.world.leads:
                self._record.tags(self._checkpoints.told())

    def _quiet_until(self) -> int:
        after = self._config.alarms.after
        earliest = max(2 * self._config.engine.warm_up, self._config.evaluate_every, self._steps // 10)
        return earliest if after is None else after
