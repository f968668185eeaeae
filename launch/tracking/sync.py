"""python -m launch sync --root runs

Sends what the journals under a run root hold to the MLflow stores they are meant for: the runs of stages whose store
did not answer until they ended, and of stages that were killed, which are marked FAILED. Nothing is sent twice.
"""

from pathlib import Path

from pydantic import Field

from launch.progress import say
from launch.refusal import Refusal
from launch.settings import Settings
from launch.tracking.redact import redacted_address
from launch.tracking.replay import Replayed, replay
from launch.tracking.settings import Tracking
from launch.tracking.shelf import stores


class Config(Settings):
    """Sends runs that their MLflow store does not have yet."""

    root: Path = Field(Path("runs"), description="run root of the stages whose runs are to be sent")
    uri: str = Field(
        "", description="store to which runs go that never reached the one they were meant for; empty: they wait for it"
    )
    others: bool = Field(
        False,
        description="whether runs of processes on other machines are ended and sent, too: only when none of them lives",
    )


def main(config: Config) -> None:
    """Sends everything; raises Refusal where a store does not answer."""
    given = Tracking(root=config.root, uri=config.uri).store if config.uri else ""
    left = []
    for store in dict.fromkeys([*([given] if given else []), *stores(config.root)]):
        found = replay(config.root, store, seconds=float("inf"), others=config.others, strays=store == given)
        _tell(found, store)
        if found.left:
            left.append(f"{redacted_address(store)} lacks {found.left:,} operations ({found.reason})")
    if left:
        raise Refusal(
            f"A store must answer to be sent runs, but {', and '.join(left)}: start the same command again when it "
            "does, or let runs that never reached it go elsewhere with --uri."
        )
    if not stores(config.root):
        say(f"Nothing is left to be sent under '{config.root}'.")


def _tell(found: Replayed, store: str) -> None:
    if found.runs:
        say(f"Sent {found.operations:,} operations; the store {redacted_address(store)} has {found.runs} runs whole.")
    if found.refused:
        say(f"It does not take {len(found.refused):,} of them, such as {found.refused[0]}: they are left out.")
    if found.busy:
        say(f"{found.busy} runs are being written by processes that live: they send them themselves.")
    if found.elsewhere:
        say(f"{found.elsewhere} runs are of processes on other machines: --others sends them, if none of those lives.")
