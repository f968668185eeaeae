"""Watch: a rank that is lost, or gives up, ends all others within a bounded time, with a sentence that names it.

Without it they would wait for the lost one in a collective. Every rank gives a sign of life to a store that outlives
most of them: that of the process group, on rank 0 (or in torchrun's agent). Rank 0 looks for all the others' signs, the
others for rank 0's, so what travels grows with the number of ranks alone.
"""

import json
import math
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import TCPStore  # type: ignore[attr-defined]

from launch.ranks.roster import Roster

GRACE = 3.0
"""Seconds that the main thread gets to end by itself, once it is known that all must end."""
VERDICT, SEEN = "watch/verdict", "watch/seen"
_LAST_WORDS: list[Callable[[int, str], None]] = []
_CURRENT: "list[Watch]" = []


class Watch:
    """The watch over one world, on this rank; it lives in two threads until `close`."""

    def __init__(self, rank: int, size: int, lost_after: float) -> None:
        """Collective. `lost_after`: seconds without a sign of life after which a rank counts as lost."""
        self._rank, self._size, self._lost_after = rank, size, lost_after
        self._tick = min(1.0, lost_after / 5)
        self._store = TCPStore(
            os.environ["MASTER_ADDR"],
            int(os.environ["MASTER_PORT"]),
            is_master=False,
            wait_for_workers=False,
            timeout=timedelta(seconds=lost_after),
        )
        self._ended, self._known = threading.Event(), threading.Event()
        self._code, self._sentence, self._spoken = 0, "", False
        self._beats: dict[int, tuple[bytes, int]] = {}
        self._rounds = 0
        self._begin()

    def close(self) -> None:
        """Ends the watch on all ranks together; collective."""
        dist.barrier()
        self._ended.set()
        for thread in self._threads:
            thread.join()
        dist.barrier()  # the store is on rank 0, which leaves last
        _CURRENT.clear()

    def tell(self, code: int, sentence: str) -> None:
        """Lets all ranks know that this one gives up, unless all do already. Rank 0 waits a little until they know."""
        if not self._known.is_set():
            self._spoken = True
            self._learn(self._store.compare_set(VERDICT, "", json.dumps([code, sentence])).decode())

    def blame(self) -> tuple[int, str] | None:
        """The exit code and sentence with which all ranks end, after a collective failed here; None if all live on."""
        if not self._known.wait(self._lost_after + 3 * self._tick):
            return None
        self._spoken = True
        return self._code, self._sentence

    @property
    def over(self) -> bool:
        """Whether it is known that all must end."""
        return self._known.is_set()

    def _begin(self) -> None:
        self._names = [""] * self._size
        dist.all_gather_object(self._names, f"rank {self._rank} (pid {os.getpid()} on {socket.gethostname()})")
        self._store.add(_beat(self._rank), 1)
        if self._rank == 0:
            self._store.set(VERDICT, "")
            self._store.set(SEEN, "0")
        dist.barrier()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._live, self._judge)]
        for thread in self._threads:
            thread.start()
        _CURRENT[:] = [self]

    def _live(self) -> None:
        """Gives signs of life and looks for those of others. It may hang when the store's process is stopped."""
        watched = [rank for rank in range(self._size) if rank != self._rank] if self._rank == 0 else [0]
        while not self._ended.wait(self._tick) and not self._known.is_set():
            try:
                self._store.add(_beat(self._rank), 1)
                verdict, *beats = self._store.multi_get([VERDICT, *map(_beat, watched)])
                if not verdict and (lost := self._lost(dict(zip(watched, beats, strict=True)))) is not None:
                    verdict = self._store.compare_set(VERDICT, "", json.dumps([1, self._silent(lost)]))
            except RuntimeError:  # the connection is closed
                verdict = json.dumps([1, f"{self._names[0]} is gone.".capitalize()]).encode()
            self._rounds += 1
            if verdict:
                self._learn(verdict.decode())

    def _lost(self, beats: dict[int, bytes]) -> int | None:
        """The first rank without a new sign of life for too many rounds. Rounds, not seconds: one that was itself
        suspended for a while has seen none."""
        for rank, beat in beats.items():
            before, rounds = self._beats.get(rank, (b"", 0))
            self._beats[rank] = (beat, rounds + 1 if beat == before else 0)
        limit = math.ceil(self._lost_after / self._tick)
        return next((rank for rank, (_, rounds) in self._beats.items() if rounds >= limit), None)

    def _silent(self, rank: int) -> str:
        return f"{self._names[rank]} gave no sign of life for {self._lost_after:g} s.".capitalize()

    def _judge(self) -> None:
        """Ends this process when it is known that all must end, whatever its main thread waits for."""
        roster, seen, still = Roster.of_environment(), -1, 0
        while not self._ended.wait(self._tick) and not self._known.is_set():
            seen, still = self._rounds, still + 1 if self._rounds == seen else 0
            if still * self._tick >= self._lost_after:
                self._learn(json.dumps([1, self._silent(0)]), alone=True)
            if roster and roster.abandoned():
                self._learn(json.dumps([1, "The command that started the ranks is gone."]), alone=True)
        if self._known.is_set() and not self._ended.wait(GRACE):
            self._end_at_once()

    def _end_at_once(self) -> None:
        if not self._spoken:
            print(f"Failed: {self._sentence}", file=sys.stderr, flush=True)
        speak_last_words(self._code, self._sentence)
        os._exit(self._code)

    def _learn(self, verdict: str, alone: bool = False) -> None:
        if self._known.is_set():
            return
        self._code, self._sentence = json.loads(verdict)
        self._known.set()
        if not alone:
            self._linger()

    def _linger(self) -> None:
        try:
            self._store.add(SEEN, 1)
            end = time.monotonic() + GRACE
            while self._rank == 0 and time.monotonic() < end and int(self._store.get(SEEN)) < self._size:
                time.sleep(self._tick / 10)
        except RuntimeError:
            pass  # there is nobody left to wait for


def tell(code: int, sentence: str) -> None:
    """`Watch.tell`, where there are other ranks."""
    for watch in _CURRENT:
        watch.tell(code, sentence)


def blame(error: Exception) -> tuple[int, str] | None:
    """`Watch.blame`, where there are other ranks and an error is one that theirs can cause."""
    if not _CURRENT or not (isinstance(error, dist.DistError) or "gloo" in str(error)):
        return None
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a launcher may know earlier that a rank died, and end the others
    return _CURRENT[0].blame()


def depart(code: int) -> None:
    """Ends this process where ranks are lost: torch would wait for them, or abort, while it cleans up behind itself."""
    if _CURRENT and _CURRENT[0].over:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def close() -> None:
    """`Watch.close`, where there are other ranks."""
    for watch in list(_CURRENT):
        watch.close()


@contextmanager
def last_words(speak: Callable[[int, str], None]) -> Iterator[None]:
    """While inside, an end of this process that no `finally` sees calls `speak` with its exit code and sentence."""
    _LAST_WORDS.append(speak)
    try:
        yield
    finally:
        _LAST_WORDS.remove(speak)


def speak_last_words(code: int, sentence: str) -> None:
    """Calls all that wait for an end of this process, the latest first."""
    for speak in reversed(_LAST_WORDS):
        speak(code, sentence)


def _beat(rank: int) -> str:
    return f"watch/beat/{rank}"
