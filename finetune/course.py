"""The course of a training: epochs, a judgement after each, in an order that a later start repeats.

The order of the videos is drawn from the seed and the epoch, and a training that goes on from a saved state ends as one
that never stopped, on a CPU bit for bit.
"""

import math
import time
from collections.abc import Callable, Mapping

from finetune.batches import Split
from finetune.losses import Diverged
from finetune.saved import Saved, State
from finetune.scoring.protocol import judge
from finetune.trainer import Best, Trainer, better
from launch.preemption import Stopped
from launch.progress import say, track
from launch.tracking import Record


def fit(
    trainer: Trainer, train: Split, validation: Split, record: Record, saved: Saved, asked_to_stop: Callable[[], bool]
) -> Best:
    """The best epoch of the whole training, from where the trainer is; says one line an epoch.

    Raises Stopped after a step, with the state saved, when it is asked to; while labels are estimated there is no step
    to save, and the estimate is made anew.
    """

    def save() -> None:
        state = trainer.state()
        saved.write(State(state.tensors, {**state.numbers, "run": record.run_id}))

    def leave_if_asked() -> None:
        if asked_to_stop() and trainer.step < trainer.steps:
            save()
            raise Stopped(
                f"after step {trainer.step:,} of {trainer.steps:,} (epoch {trainer.epoch}), as it was asked to: "
                "the same command goes on from there."
            )

    def leave_unprepared() -> None:
        if asked_to_stop():
            raise Stopped(
                "while labels were estimated, before the first step, as it was asked to: "
                "the same command estimates them anew."
            )

    if not trainer.cleaner.ready:
        trainer.prepare(leave_unprepared)
        save()
    leave_if_asked()
    while trainer.step < trainer.steps:
        epoch, start = trainer.epoch, time.monotonic()
        try:
            means = run_epoch(trainer, train, record, leave_if_asked)
        except Diverged:
            saved.forget()  # it leads there again, and other settings could not go on from it
            raise
        look(trainer, validation, epoch, means, time.monotonic() - start, record)
        if epoch % trainer.recipe.training.keep_every == 0 or trainer.step == trainer.steps:
            save()
        leave_if_asked()
    assert trainer.best is not None
    return trainer.best


def run_epoch(
    trainer: Trainer, train: Split, record: Record, between_steps: Callable[[], None] = lambda: None
) -> dict[str, float]:
    """The mean of each part of the loss over the steps of the trainer's epoch, of which it takes those that are left.

    Raises Diverged at the first recorded step whose loss is not a finite number.
    """
    recipe, epoch, done = trainer.recipe.training, trainer.epoch, trainer.step % trainer.per_epoch
    for group in trainer.optimizer.param_groups:
        group["lr"] = recipe.decayed(group["at_start"], epoch)
    trainer.parser.train()
    batches = train.shuffled(recipe.batch, trainer.recipe.seed, epoch, done)
    for batch in track(batches, f"epoch {epoch}/{recipe.epochs}", trainer.per_epoch - done, "batch"):
        parts = trainer.descend(batch)
        if trainer.step % recipe.record_every == 0:
            record.metrics(trainer.step, {f"step/{name}": value.item() for name, value in parts.items()})
            _check_finite(parts["loss"].item(), trainer, epoch)
        if trainer.step % trainer.per_epoch:
            between_steps()
    trainer.cleaner.end_epoch()
    means = {name: total.item() / trainer.per_epoch for name, total in trainer.totals.items()}
    trainer.totals = {}
    _check_finite(means["loss"], trainer, epoch)
    rate = {"learning_rate": recipe.decayed(recipe.learning_rate, epoch)}
    record.metrics(epoch, {f"epoch/{name}": value for name, value in (means | rate).items()})
    return means


def look(
    trainer: Trainer, validation: Split, epoch: int, means: Mapping[str, float], seconds: float, record: Record
) -> None:
    """Judges the parser on validation after an epoch that took so many seconds, and keeps it if it is the best."""
    judgement = judge(trainer.kept, validation, trainer.recipe.protocol.fixed)
    trainer.best = better(trainer.best, epoch, judgement, trainer.kept)
    record.metrics(epoch, judgement.flat("validation") | {"epoch/seconds": seconds})
    say(
        f"epoch {epoch}/{trainer.recipe.training.epochs}: loss {means['loss']:.4f}, validation segment Type@AV "
        f"{judgement.scores['segment']['type_at_av']:.2f} (best {trainer.best.type_at_av:.2f}, "
        f"epoch {trainer.best.epoch}), {seconds:.1f} s"
    )


def _check_finite(loss: float, trainer: Trainer, epoch: int) -> None:
    if not math.isfinite(loss):
        raise Diverged(
            f"The loss must stay a finite number, but is {loss} by step {trainer.step} (epoch {epoch}): lower "
            f"training.learning_rate (now {trainer.recipe.training.learning_rate}), or look for extreme features."
        )
