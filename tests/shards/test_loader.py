"""Whoever reads, and however many: the same global batches, bit for bit; and damage is told or counted."""

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from launch.refusal import Refusal
from shards import loader
from shards.groups import Groups
from shards.loader import Part, Parts
from shards.order import Order
from shards.read import ReadSettings, Shards
from shards.tars.index import index_name
from tests.shards.kill_trial import write_corpus

NAMES = ("resnet152", "vggish")
WORLDS = [(1, 0), (1, 2), (2, 1), (3, 2), (4, 0), (8, 1)]
SETS = {
    "unequal shards": ((9, 1, 17, 4, 12, 6, 2), 10, 2),
    "more ranks than shards": ((11, 5), 6, 1),
    "fewer videos than a batch": ((2, 3), 64, 16),
}
Batch = list[tuple[str, bytes, bytes]]
"""Key and bytes of both features of each video."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {name: write_corpus(root / str(number), case[0]) for number, (name, case) in enumerate(SETS.items())}


def opened(folders: dict[str, Path], name: str, grouped: bool = False, on_bad: str = "stop") -> tuple[Shards, Order]:
    counts, global_batch, window = SETS[name]
    shards = Shards.open(folders[name], ReadSettings.model_validate({"on_bad": on_bad}), window)
    groups = Groups.read(folders[name].with_suffix(".npy"), len(shards), 3) if grouped else None
    return shards, Order(shards.manifest.digest, counts, global_batch, 4, window, groups)


def parts(shards: Shards, order: Order, rank: int = 0, size: int = 1) -> Parts:
    return Parts(shards, order, NAMES, np.arange(len(shards)), rank, size)


def content(part: Part, shards: Shards) -> Batch:
    rows = zip(part.places, *(part.features[name].numpy() for name in NAMES), strict=True)
    return [(shards.keys[place], one.tobytes(), other.tobytes()) for place, one, other in rows]


def global_batches(shards: Shards, order: Order, world: tuple[int, int], start: int, stop: int) -> list[Batch]:
    """What the ranks of a world read together in each step, one rank after the other."""
    size, workers = world
    of_ranks = [list(parts(shards, order, rank, size).between(start, stop, workers)) for rank in range(size)]
    assert all([part.step for part in mine] == list(range(start, stop)) for mine in of_ranks)
    return [[video for part in step for video in content(part, shards)] for step in zip(*of_ranks, strict=True)]


def one_by_one(shards: Shards, order: Order, start: int, stop: int) -> list[Batch]:
    """What the order says, read without a loader."""

    def video(place: int) -> tuple[str, bytes, bytes]:
        found = shards.read(place)
        return (found.key, *(found.features[name].tobytes() for name in NAMES))  # type: ignore[return-value]

    return [[video(place) for place in order.batch(step)] for step in range(start, stop)]


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("name", SETS)
def test_every_number_of_ranks_and_workers_reads_the_same_global_batches(
    folders: dict[str, Path], name: str, grouped: bool
) -> None:
    shards, order = opened(folders, name, grouped)
    stop = order.steps_per_epoch + 2
    expected = one_by_one(shards, order, 0, stop)
    for world in WORLDS:
        assert global_batches(shards, order, world, 0, stop) == expected, world


@pytest.mark.parametrize("grouped", [False, True])
def test_from_any_step_on_the_batches_are_those_of_a_reader_that_never_stopped(
    folders: dict[str, Path], grouped: bool
) -> None:
    shards, order = opened(folders, "unequal shards", grouped)
    stop = 2 * order.steps_per_epoch
    expected = one_by_one(shards, order, 0, stop)
    for start in range(stop):
        assert global_batches(shards, order, (2, 0), start, stop) == expected[start:]
    for start in (1, stop - 1):
        assert global_batches(shards, order, (1, 2), start, stop) == expected[start:]


def test_videos_that_are_left_out_of_the_order_are_never_read(folders: dict[str, Path]) -> None:
    shards, _ = opened(folders, "unequal shards")
    kept = np.setdiff1d(np.arange(len(shards)), [0, 9, 30, 50])  # 9 is all of the second shard
    counts = tuple(np.bincount(shards.shard_of[kept], minlength=7).tolist())
    order = Order(shards.manifest.digest, counts, 10, 4, 2)
    reader = Parts(shards, order, NAMES, kept, 0, 1)
    read = [place for part in reader.between(0, order.steps_per_epoch) for place in part.places]
    assert sorted(read) == kept.tolist()
    assert counts[1] == 0


def test_nothing_to_read_is_a_part_without_videos(folders: dict[str, Path]) -> None:
    shards, order = opened(folders, "fewer videos than a batch")
    (part,) = parts(shards, order, 0, 8).between(0, 1)
    assert {name: tensor.shape for name, tensor in part.features.items()} == {
        "resnet152": (0, 10, 12),
        "vggish": (0, 10, 8),
    }
    assert part.features["vggish"].dtype == torch.float16


class Recorded:
    """What a reader told its shards: (shards, position) of every `prepare`, and the shards of every batch it read."""

    def __init__(self, shards: Shards, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[tuple[str, tuple[int, ...], int]] = []
        read = shards.batch

        def batch(places: np.ndarray, *rest: Any) -> Any:
            self.said.append(("read", tuple(sorted(set(shards.shard_of[places].tolist()))), 0))
            return read(places, *rest)

        monkeypatch.setattr(shards, "batch", batch)
        monkeypatch.setattr(shards, "prepare", lambda numbers, at: self.said.append(("need", tuple(numbers), at)))


@pytest.mark.parametrize("workers", [0, 3])
def test_a_reader_says_what_it_needs_before_it_reads_and_what_it_needs_next_after(
    folders: dict[str, Path], workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, order = opened(folders, "unequal shards")
    recorded, reader = Recorded(shards, monkeypatch), parts(shards, order, 1, 2)
    reader.stop = stop = 2 * order.steps_per_epoch
    monkeypatch.setattr(loader, "get_worker_info", lambda: SimpleNamespace(num_workers=workers) if workers else None)
    needed: tuple[int, ...] = ()
    position = 0
    for step in range(1, stop, workers or 1):
        reader.read(step)
        following = step + (workers or 1)
        windows = [piece.window for piece in order.pieces(following, 1, 2)]
        expected = order.shards(windows[0]) if following < stop else ()
        assert recorded.said[-1][1] == expected
        assert following >= stop or recorded.said[-1][2] == windows[0]
    for kind, numbers, at in recorded.said:
        if kind == "need":
            assert at >= position
            needed, position = numbers, at
        else:
            assert set(numbers) <= set(needed)
    assert {len(numbers) for kind, numbers, _ in recorded.said if kind == "need"} == {0, 1, 2}


def test_a_reader_without_a_part_of_the_next_batch_needs_nothing(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shards, order = opened(folders, "fewer videos than a batch")
    recorded = Recorded(shards, monkeypatch)
    assert [len(part.places) for part in parts(shards, order, 0, 8).between(0, 3)] == [0, 0, 0]
    assert [said[:2] for said in recorded.said] == [("need", ())] * 3


@pytest.fixture
def damaged(folders: dict[str, Path], tmp_path: Path) -> tuple[dict[str, Path], int]:
    """The unequal shards with one flipped byte inside the 20th video, and that video's place."""
    shards, _ = opened(folders, "unequal shards")
    place, number = 20, int(shards.shard_of[20])
    folder = tmp_path / "damaged"
    folder.mkdir()
    for path in folders["unequal shards"].iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    key = shards.keys[place]
    tar = folder / shards.manifest.shards[number].file
    assert (folder / index_name(tar.name)).exists()  # else the shard's own sha256 would tell
    content = bytearray(tar.read_bytes())
    content[content.index(key.replace(".", "%2E").encode()) + 512 + 400] ^= 1
    tar.write_bytes(content)
    return {"unequal shards": folder}, place


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_video_stops_the_reader_with_one_sentence_whichever_process_met_it(
    damaged: tuple[dict[str, Path], int], workers: int
) -> None:
    folders, place = damaged
    shards, order = opened(folders, "unequal shards")
    with pytest.raises(Refusal, match=r"--reading\.on_bad skip") as caught:
        list(parts(shards, order).between(0, order.steps_per_epoch, workers))
    assert shards.keys[place] in str(caught.value)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("world", [(1, 0), (3, 2)])
def test_a_bad_video_is_skipped_and_told_and_all_others_keep_their_places(
    damaged: tuple[dict[str, Path], int], folders: dict[str, Path], world: tuple[int, int]
) -> None:
    broken, place = damaged
    whole, order = opened(folders, "unequal shards")
    shards, _ = opened(broken, "unequal shards", on_bad="skip")
    stop, key = 2 * order.steps_per_epoch, shards.keys[place]
    expected = [[video for video in batch if video[0] != key] for batch in one_by_one(whole, order, 0, stop)]
    assert global_batches(shards, order, world, 0, stop) == expected
    read = [
        part for rank in range(world[0]) for part in parts(shards, order, rank, world[0]).between(0, stop, world[1])
    ]
    faults = [fault for part in read for fault in part.faults]
    assert len(faults) == 2  # once an epoch
    assert all(key in fault for fault in faults)


def test_loader_processes_draw_nothing_from_the_runs_random_numbers(folders: dict[str, Path]) -> None:
    shards, order = opened(folders, "unequal shards")
    torch.manual_seed(3)
    before = torch.get_rng_state()
    list(parts(shards, order).between(0, 2, workers=1))
    assert torch.equal(torch.get_rng_state(), before)


KILLED = """
import sys
import numpy as np, psutil
from shards.loader import Parts
from shards.order import Order
from shards.read import Shards

shards = Shards.open(sys.argv[1])
parts = Parts(shards, Order("", shards.manifest.counts, 10, 4), ("vggish",), np.arange(len(shards)), 0, 1)
reading = parts.between(0, 1000, workers=1)
next(reading)
(child,) = (each for each in psutil.Process().children() if each.cmdline() == psutil.Process().cmdline())  # a fork
child.kill()
print(sum(1 for _ in reading), "more")
"""


def test_a_loader_process_that_is_killed_is_an_error_and_no_short_epoch(folders: dict[str, Path]) -> None:
    # in a process of its own: torch raises from a signal handler, wherever its main thread happens to be, even in the
    # printing of the traceback, unless the broken pipe of the dead process is met first
    command = [sys.executable, "-c", KILLED, str(folders["unequal shards"])]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert "Traceback" in ended.stderr
    assert "more" not in ended.stdout


def test_loader_processes_open_nothing_that_their_parent_has_opened(folders: dict[str, Path]) -> None:
    shards, order = opened(folders, "unequal shards")
    expected = one_by_one(shards, order, 0, 3)
    assert len(shards.keys) == len(shards)
    shards._files, shards._members = None, {}  # type: ignore[assignment]
    assert [content(part, shards) for part in parts(shards, order).between(0, 3, workers=2)] == expected


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="pinned memory needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_parts_are_read_into_pinned_memory_on_request(folders: dict[str, Path], workers: int) -> None:
    shards, order = opened(folders, "unequal shards")
    reader = Parts(shards, order, NAMES, np.arange(len(shards)), 0, 1, pin=True)
    found = list(reader.between(0, 3, workers))
    assert all(tensor.is_pinned() for part in found for tensor in part.features.values())
    assert [content(part, shards) for part in found] == one_by_one(shards, order, 0, 3)
