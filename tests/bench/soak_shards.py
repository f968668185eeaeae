"""make soak-shards

Twenty times readers are killed with -9 at a drawn step, and others, of another number, read the rest; each time all
that was read is compared with an uninterrupted reading, bit for bit. The last line is JSON. A trial that fails makes
the exit code 1; `--first` names the seed to begin with, so that one can be tried again.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from shards.read import Shards
from tests.shards.kill_trial import Outcome, trial, uninterrupted, write_corpus
from tests.shards.servers import web


def main(words: list[str]) -> int:
    """Every third trial reads from a web server, every other one keeps groups together."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="seed of the first trial")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as work, web(Path(work)) as server:
        counts = np.random.default_rng(0).integers(1, 70, size=40).tolist()
        folder = write_corpus(Path(work) / "set", counts)
        outcomes = []
        for seed in range(arguments.first, arguments.first + arguments.trials):
            remote, groups = seed % 3 == 2, folder.with_suffix(".npy") if seed % 2 else None
            location = f"{server.url}/set" if remote else str(folder)
            expected = uninterrupted(Shards.open(folder), groups)
            outcome = trial(location, groups, Path(work) / f"trial{seed}", seed, expected)
            outcomes.append(outcome)
            print(_line(seed, outcome, remote, groups is not None), flush=True)
    equal = sum(outcome.equal for outcome in outcomes)
    found = {"trials": len(outcomes), "equal": equal, "orphans": sum(outcome.orphans for outcome in outcomes)}
    steps = {outcome.step for outcome in outcomes}
    found |= {"first_step": min(steps), "last_step": max(steps), "different_steps": len(steps)}
    print(json.dumps(found | {"fewest_left": min(outcome.left for outcome in outcomes)}))
    return int(equal < len(outcomes) or found["orphans"] > 0 or any(outcome.left < 1 for outcome in outcomes))


def _line(seed: int, outcome: Outcome, remote: bool, grouped: bool) -> str:
    before, after = (f"{ranks} ranks × {workers}" for ranks, workers in outcome.worlds)
    how = f"{'http' if remote else 'local'}{', grouped' if grouped else ''}"
    verdict = "equal" if outcome.equal else "DIFFERENT"
    where = f"at step {outcome.step}, {outcome.left} left"
    return f"{seed}: {how}: {before} → {after} {where}, {outcome.orphans} orphans: {verdict}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
