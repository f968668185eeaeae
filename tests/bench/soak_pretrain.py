"""make soak-pretrain

One run of two ranks is killed twenty times at drawn moments while it trains: a rank or all of them with kill -9, or the
run asked to stop with SIGTERM or SIGUSR1; each time it goes on from its last good checkpoint. The encoder it ends with
is compared, bit for bit, with that of a run that was never killed. The last line is JSON, and the exit code 1 when they
differ; `--seed` draws other kills.
"""

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.pretrain.conftest import chosen, plant
from tests.pretrain.kill_trial import trial


def main(words: list[str]) -> int:
    """Prints what the run said, then the counts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20, help="kills")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--stage", type=int, default=1, help="ZeRO stage")
    arguments = parser.parse_args(words)
    with tempfile.TemporaryDirectory() as work:
        folder, began = Path(work), time.monotonic()
        given = chosen(plant(folder), folder / "runs", folder) | {"evaluate_every": 1000}
        given |= {"job": {"processes": 2, "threads": 1, "max_restarts": arguments.trials, "lost_after": 5}}
        given |= {"engine": {"zero_stage": arguments.stage, "warm_up": 2}}
        settings = {name: value for name, value in given.items() if name not in ("out", "steps")}
        outcome = trial(settings, folder, arguments.trials, arguments.seed)
        print(outcome.said)
    found = {"trials": len(outcome.kills), "equal": outcome.equal, "restarts": outcome.restarts, "stops": outcome.stops}
    print(json.dumps(found | {"kinds": Counter(outcome.kills), "seconds": round(time.monotonic() - began)}))
    return int(not outcome.equal or len(outcome.kills) < arguments.trials)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
