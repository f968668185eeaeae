"""python -m launch STAGE [FILE.toml …] [--dotted.key value …]

python -m launch                      # the stages
python -m launch graph --help         # every setting of one, with meaning, unit and default
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from launch import job, stage
from launch.refusal import Refusal
from launch.settings import load
from launch.world import launched


def main(arguments: Sequence[str]) -> int:
    """The exit code of one stage: 0 at its end, 2 when an input or a setting was refused, 1 when a process it shared
    its work with died, 130 when it was interrupted."""
    arguments = [word for word in arguments if not word.startswith("--local_rank")]  # deepspeed's, if it stands by hand
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview())
        return 0
    try:
        return _run(arguments[0], arguments[1:])
    except Refusal as refusal:
        rank = os.environ.get("RANK", "0")
        print(f"Refused{'' if rank == '0' else f' on rank {rank}'}: {refusal}", file=sys.stderr, flush=True)
        return 2
    except ChildProcessError as death:
        print(f"Failed: {death}", file=sys.stderr, flush=True)
        return 1
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr, flush=True)
        return 130


def _run(name: str, arguments: Sequence[str]) -> int:
    chosen = stage.find(name)
    config_class, run = chosen.load()
    count = next((i for i, word in enumerate(arguments) if word.startswith("-")), len(arguments))
    files = [Path(word) for word in arguments[:count]]
    config: Any = load(config_class, files, arguments[count:], f"python -m launch {name}")
    if chosen.distributed and config.job.processes > 1 and not launched():
        chosen.check(config)
        return job.start(name, arguments, config.job)
    run(config)
    return 0


def _overview() -> str:
    width = max(map(len, stage.STAGES))
    lines = [f"  {each.name:{width}}  {each.summary}" for each in stage.STAGES.values()]
    return "\n".join([(__doc__ or "").strip(), "", "stages:", *lines])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
