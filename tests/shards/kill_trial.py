"""One trial: readers are killed with -9 at some step, and others, of another number, read the rest.

`trial` compares what both read with an uninterrupted reading, video by video, bit for bit.
"""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from shards.manifest import Manifest, Shard
from shards.read import Shards
from shards.schema import Feature, Video
from tests.shards.ordered_reader import digest, order_of
from tests.shards.sets import write_shard

FEATURES = {each.name: each for each in (Feature("vggish", 8, "raw"), Feature("resnet152", 12))}
GLOBAL_BATCH, WINDOW, EPOCHS = 32, 3, 3
WORLDS = ((1, 0), (1, 2), (2, 1), (3, 2), (4, 0), (8, 1))
"""(ranks, loader processes of each) that take turns in reading."""


def write_corpus(folder: Path, counts: Sequence[int]) -> Path:
    """A shard set of shards that hold so many videos, and `groups.npy` beside its folder; random features."""
    draw = np.random.default_rng(len(counts))
    folder.mkdir(parents=True)

    def videos(number: int) -> list[Video]:
        names = [f"shard{number}.video{place}_0_10" for place in range(counts[number])]
        return [Video(key, {n: draw.normal(size=(10, f.width)) for n, f in FEATURES.items()}) for key in names]

    shards: list[Shard] = [
        write_shard(folder / f"{number:06d}.tar", FEATURES, videos(number)) for number in range(len(counts))
    ]
    Manifest(FEATURES, tuple(shards), {"planted": "for readers"}).write(folder)
    np.save(folder.with_suffix(".npy"), draw.integers(-1, 40, size=sum(counts)))
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a trial found."""

    equal: bool
    """Whether living readers were killed, and what was read before and after is what an uninterrupted reading gives."""
    step: int
    """The first step of the readers that went on."""
    left: int
    """Steps that they had to read; at least one, since those that are killed never read the last."""
    orphans: int
    """Processes that outlived the kill by more than their patience."""
    seconds: float
    """Until the last of them had ended."""
    worlds: tuple[tuple[int, int], tuple[int, int]]


def uninterrupted(shards: Shards, groups: Path | None) -> list[list[str]]:
    """The digests of every global batch, read one video after the other by this process."""
    order = order_of(shards, GLOBAL_BATCH, WINDOW, groups)
    videos = [shards.read(place) for place in range(len(shards))]
    of_video = [digest(video.key, video.features) for video in videos]
    return [[of_video[place] for place in order.batch(step)] for step in range(EPOCHS * order.steps_per_epoch)]


def trial(location: str, groups: Path | None, folder: Path, seed: int, expected: list[list[str]]) -> Outcome:
    """Kills readers of a shard set (a folder or a URL) at a drawn step, and lets a drawn other world go on.

    The readers of a rank do not wait for those of another, so some are ahead of the step when they are killed; those
    that are fast stay before the last step until then.
    """
    draw = random.Random(seed)
    first, second = draw.sample(WORLDS, 2)
    at = draw.randrange(1, len(expected) * 4 // 5)
    everybody = draw.random() < 0.5
    out = {name: folder / name for name in ("killed", "resumed")}
    killed = _start(location, groups, out["killed"], first, 0, len(expected) - 1, pause=0.01, stay=100)
    _wait(lambda: all(_lines(out["killed"], rank) >= at for rank in range(first[0])) or killed.poll() is not None)
    time.sleep(draw.random() * 0.02)
    began, alive = time.monotonic(), killed.poll() is None
    _kill(killed, everybody)
    with suppress(TimeoutError):
        _wait(lambda: not _session(killed.pid), seconds=20)
    seconds, orphans = time.monotonic() - began, _session(killed.pid)
    for process in orphans:
        os.kill(process, signal.SIGKILL)
    step = min(_lines(out["killed"], rank) for rank in range(first[0]))
    resumed = _start(location, groups, out["resumed"], second, step, len(expected), pause=0, stay=0)
    code = resumed.wait(timeout=120)
    for name, fine in (("killed", alive), ("resumed", code == 0)):
        if not fine:
            print((out[name] / "errors").read_text(), file=sys.stderr)
    before, after = _batches(out["killed"], first[0], 0), _batches(out["resumed"], second[0], step)
    equal = alive and code == 0 and before[:step] == expected[:step] and after == expected[step:]
    return Outcome(equal, step, len(expected) - step, len(orphans), seconds, (first, second))


def _start(
    location: str,
    groups: Path | None,
    out: Path,
    world: tuple[int, int],
    start: int,
    stop: int,
    pause: float,
    stay: float,
) -> "subprocess.Popen[bytes]":
    """Readers in a session of their own."""
    out.mkdir(parents=True)
    named = {"ranks": world[0], "workers": world[1], "start": start, "stop": stop, "pause": pause, "stay": stay}
    named |= {"global-batch": GLOBAL_BATCH, "window": WINDOW, "cache": out.parent / "cache"}
    named |= {"groups": groups} if groups else {}
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "tests.shards.ordered_reader", location, str(out), *words]
    with (out / "errors").open("wb") as errors:  # loader processes complain when their rank is gone
        return subprocess.Popen(command, cwd=Path(__file__).parents[2], start_new_session=True, stderr=errors)


def _kill(process: "subprocess.Popen[bytes]", everybody: bool) -> None:
    """Ends all processes of a session at once, or its ranks alone, whose loader processes then have to notice."""
    if everybody:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        ranks = [child for child, parent in _session(process.pid).items() if parent == process.pid]
        for victim in (process.pid, *ranks):
            with suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
    process.wait()


def _session(leader: int) -> dict[int, int]:
    """The living processes of a session, each with its parent."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError):  # it ended just now
                state, parent, _, session = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
                if int(session) == leader and state != "Z":
                    found[int(entry.name)] = int(parent)
    return found


def _wait(condition, seconds: float = 60) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.005)


def _whole(out: Path, rank: int) -> list[list[str]]:
    """The words of each line that a rank has written whole."""
    path = out / f"{rank}.txt"
    return [line.split() for line in path.read_text().splitlines(True) if line.endswith("\n")] if path.exists() else []


def _lines(out: Path, rank: int) -> int:
    return len(_whole(out, rank))


def _batches(out: Path, ranks: int, start: int) -> list[list[str]]:
    """The global batches that all ranks have read: their parts of each step, joined."""
    parts = [_whole(out, rank) for rank in range(ranks)]
    steps = min(map(len, parts))
    assert all(part[number][0] == str(start + number) for part in parts for number in range(steps))
    return [[each for part in parts for each in part[number][1:]] for number in range(steps)]
