"""Place: which process this is among how many, as the launcher that started it says in the environment."""

import os

from launch.refusal import Refusal


def launched() -> bool:
    """Whether a launcher (deepspeed, torchrun, srun) has started this process as one rank of a world."""
    return "RANK" in os.environ or "WORLD_SIZE" in os.environ


def read_place() -> tuple[int, int, int]:
    """Rank, number of ranks, and rank on this host, from RANK, WORLD_SIZE and LOCAL_RANK; without them a world of one.

    Raises Refusal when the variables contradict each other.
    """
    if not launched():
        return 0, 1, 0
    found = {name: os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK")}
    try:
        rank, size = int(found["RANK"] or ""), int(found["WORLD_SIZE"] or "")
        local_rank = int(found["LOCAL_RANK"] or 0)
    except ValueError:
        rank, size, local_rank = -1, -1, -1
    if not 0 <= rank < size:
        raise Refusal(
            f"RANK and WORLD_SIZE must be numbers with 0 ≤ RANK < WORLD_SIZE, but the environment holds {found}: "
            "start through `python -m launch`, deepspeed or torchrun, or unset them for a single process."
        )
    return rank, size, local_rank
