"""The work of a reproduction: every row and seed that has no result yet, in turn, and what was found in the end."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from finetune.reproduction.pages import write_tables
from finetune.reproduction.results import Identity, Result, Results, newest
from finetune.reproduction.rows import Row
from finetune.reproduction.summary import Found
from finetune.reproduction.trials import Bench, defaults
from launch import tracking
from launch.chain import Failed, words
from launch.lock import held
from launch.progress import say
from launch.tracking import Tracking

SOURCES = "its encoder or embeddings: "
"""How the reason begins where what a row reads could not be made."""


class TrialFailed(Exception):
    """A training or a scoring failed by itself: its MLflow run says so, and the other trials go on."""


@dataclass(frozen=True)
class Work:
    """What one command makes, and where the results are."""

    bench: Bench
    rows: Sequence[Row]
    seeds: Mapping[str, Sequence[int]]
    """Row → its seeds."""
    results: Results
    within: Tracking
    """Of runs that are children of this one's."""
    recall: bool = False
    """Whether the newest results of a row are shown where its encoder is not here to tell whether they are its own."""
    failed: dict[tuple[str, int], str] = field(default_factory=dict)
    """Row and seed → how its trial, or the making of what it reads, failed in this start."""

    def make(self) -> None:
        """Makes what is missing: every row with its first seed, then with its second; others' work is waited for last.

        A trial that fails by itself is noted, and the next one is made. The tables are written anew after each
        result, so that they can be looked at on the way.
        """
        most = max(map(len, self.seeds.values()))
        left = [(row, seed) for seed in range(most) for row in self.rows if seed in self.seeds[row.name]]
        for patient in (False, True):
            left = [(row, seed) for row, seed in left if not self._is_settled(row, seed, patient)]

    def found(self) -> Found:
        """The results that are there."""
        lines = self.results.read()
        identities = {row.name: identity for row in self.rows if (identity := self._identity(row, lines))}
        there = {
            (row, seed): result
            for row, identity in identities.items()
            for seed in self.seeds[row]
            if (result := newest(replace(identity, seed=seed), lines, defaults(), self.bench.only))
        }
        return Found(self.rows, self.seeds, there, defaults(), self.failed)

    def _identity(self, row: Row, lines: Sequence[Result]) -> Identity | None:
        """That of a row's results with seed 0; None where what they are made of is not there to tell."""
        if self.bench.sources.ready(row):
            return self.bench.identity(row, 0)
        return self.bench.recalled(row, lines) if self.recall else None

    def _is_settled(self, row: Row, seed: int, patient: bool) -> bool:
        """Whether a trial has a result, made if need be, or failed; False where it is left to another process."""
        try:
            done = self._sources_failed(row, seed) or self._is_made(row, seed, patient)
        except Failed as stage:  # of what the row reads
            self._note(row, seed, f"{SOURCES}{stage.sentence}")
        except TrialFailed as trial:
            self._note(row, seed, str(trial))
        else:
            if not done:
                say(f"Row '{row.name}' with seed {seed} is being made by another process: left to it for now.")
            return done
        return True

    def _sources_failed(self, row: Row, seed: int) -> bool:
        """Whether what a row reads could not be made for another one in this start; then this one is noted too."""
        mode = row.embeddings or row.encoder
        rows = {each.name for each in self.rows if mode and mode in (each.embeddings, each.encoder)}
        reasons = [how for (name, _), how in self.failed.items() if name in rows and how.startswith(SOURCES)]
        if reasons:
            self._note(row, seed, reasons[0])
        return bool(reasons)

    def _is_made(self, row: Row, seed: int, patient: bool) -> bool:
        """Whether a result is there, made if need be; one that another process makes is not, unless `patient`."""
        if not self.bench.sources.make(row, patient):
            return False
        identity = self.bench.identity(row, seed)
        with held(self.bench.lock(identity), f"row '{row.name}' with seed {seed}", patient) as lock:
            if lock is None:
                return False
            if not newest(identity, self.results.read(), defaults(), self.bench.only):
                self._make(row, identity, lock)
        return True

    def _make(self, row: Row, identity: Identity, lock: int) -> None:
        result = self._trial(row, identity, lock)
        self.results.append(result)
        say(
            f"{row.title}, seed {identity.seed}: segment Type@AV {result.scores['segment']['type_at_av']:.1f} on test; "
            f"a line of '{self.results.path}'."
        )
        write_tables(self.bench.out, self.found())

    def _trial(self, row: Row, identity: Identity, lock: int) -> Result:
        """The result of a training and a scoring, as a child run; raises TrialFailed where either failed by itself."""
        named = self.within.model_copy(update={"name": f"{row.name} {identity.seed}"})
        settings = self.bench.settings(row).model_copy(update={"seed": identity.seed})
        with tracking.run(named.model_copy(update={"system_interval": 0.0}), "trial", settings) as record:
            record.tags({"row": row.name, "seed": str(identity.seed), "key": identity.key})
            inside = tracking_words(named.model_copy(update={"parent": record.run_id}))
            try:
                result = self.bench.perform(row, identity, inside, (lock,))
            except Failed as stage:
                raise TrialFailed(stage.sentence) from None
            record.metrics(identity.seed, {f"test/{name}": value for name, value in result.flat().items()})
        return result

    def _note(self, row: Row, seed: int, how: str) -> None:
        self.failed[row.name, seed] = how
        say(f"Row '{row.name}' with seed {seed} has no result: {how}. Going on with the others.")


def tracking_words(tracked: Tracking) -> list[str]:
    """The settings of a run's children as words of a stage's command line."""
    names = ("root", "uri", "experiment", "parent", "wait", "system_interval")
    given = {f"tracking.{name}": getattr(tracked, name) for name in names}
    return words(**given)
