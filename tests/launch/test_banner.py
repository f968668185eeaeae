"""The banner: on what a run works, how its batch is made up, aligned and no wider than a log; the end foretold once."""

import re
from collections.abc import Iterator

import pytest

from launch import banner as module
from launch.banner import Machines, amount, banner, foretold, gib
from launch.world import World

TWO = Machines(("node-a", "node-b"), (4, 4), "NVIDIA H200")


def test_a_batch_is_told_as_the_product_it_is() -> None:
    assert TWO.share(256, "videos") == "256 videos = 2 hosts × 4 GPUs × 32"
    assert TWO.share(256, "videos", 32) == "256 videos = 2 hosts × 4 GPUs × 32"
    assert TWO.share(3600, "videos", 100) == (
        "3,600 videos = 2 hosts × 4 GPUs × 450, 100 at a time in 5 parts that add up to one step"
    )


def test_a_batch_that_ranks_do_not_divide_is_not_called_a_product() -> None:
    assert TWO.share(100, "videos") == "100 videos on 2 hosts × 4 GPUs, at most 13 each"


def test_the_batch_of_one_process_is_no_product() -> None:
    alone = Machines(("vm",), (1,), "")
    assert alone.share(16, "videos") == "16 videos"
    assert alone.share(16, "videos", 5) == "16 videos, 5 at a time in 4 parts that add up to one step"


def test_hosts_that_differ_are_not_multiplied() -> None:
    uneven = Machines(("a", "b"), (4, 2), "NVIDIA H200")
    assert uneven.words() == "6 GPUs on 2 hosts (NVIDIA H200): a, b"
    assert uneven.share(60, "videos") == "60 videos = 6 GPUs on 2 hosts × 10"


def test_of_many_hosts_the_first_are_named() -> None:
    many = Machines(tuple(f"n{number}" for number in range(100)), (8,) * 100, "NVIDIA H200")
    assert many.words().startswith("100 hosts × 8 GPUs (NVIDIA H200): n0, n1, ")
    assert many.words().endswith("n7 and 92 more")


def test_this_process_is_one_on_one_host() -> None:
    words = Machines.of(World.from_environment(0)).words()
    assert re.fullmatch(r"1 host × 1 (process \(CPU .+, \d+ threads? each\)|GPU \(.+\)): \S+", words)


def test_facts_stand_in_one_column_and_long_ones_go_on_below_themselves() -> None:
    shown = banner("A run", {"batch": "256 videos", "global size": "word " * 40, "nothing": ""}).splitlines()
    assert shown[:2] == ["A run", "  batch        256 videos"]
    assert shown[2].startswith("  global size  word word")
    assert shown[3].startswith("               word word")
    assert max(map(len, shown)) <= 100
    assert not any("nothing" in line for line in shown)


def test_the_end_is_foretold_once_and_only_where_it_is_far(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert list(foretold(range(100), 100, "Training", "steps")) == list(range(100))
    assert capsys.readouterr().out == ""
    monkeypatch.setattr(module, "WORTH_TELLING", 0.0)
    assert list(foretold(range(100), 100, "Training", "steps")) == list(range(100))
    (line,) = capsys.readouterr().out.splitlines()
    assert re.match(r"Training: 89 steps are left and take about 0 s, until \d{4}-\d\d-\d\d \d\d:\d\d, at the", line)


def test_what_is_given_up_early_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = list[str]()

    def items() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append("closed")

    steps = foretold(items(), 100, "Training", "steps")
    next(steps)
    steps.close()  # type: ignore[attr-defined]
    assert closed == ["closed"]


@pytest.mark.parametrize(
    ("number", "words"), [(0.5, "0.5"), (999, "999"), (1234, "1.23 k"), (87_400_000, "87.4 M"), (2.5e15, "2.5 P")]
)
def test_amounts_have_three_digits(number: float, words: str) -> None:
    assert amount(number) == words


def test_sizes_are_told_in_the_unit_that_fits() -> None:
    assert (gib(45 * 2**20), gib(3.25 * 2**30)) == ("45 MiB", "3.2 GiB")
