"""What differs between ranks is found and named; that real ranks find it is tested with real hosts."""

from launch.ranks.agreement import CLOCKS, Told, clocks_apart, difference, settings_apart


def told(*facts: dict[str, str]) -> list[Told]:
    return [Told(rank, f"host{rank + 1}", each, commit=f"commit c{rank}") for rank, each in enumerate(facts)]


def test_ranks_that_are_equal_agree() -> None:
    assert difference(told({"torch": "2"}, {"torch": "2"})) == ""
    assert difference(told({"torch": "2"})) == ""


def test_the_first_fact_that_differs_is_named_with_both_values_and_a_remedy() -> None:
    found = difference(
        told({"code": "a", "torch": "2.1"}, {"code": "a", "torch": "2.1"}, {"code": "a", "torch": "2.2"})
    )
    assert found == (
        "Every rank must have the same torch, but rank 0 on host1 has 2.1 and rank 2 on host3 has 2.2: install the "
        "same on both."
    )


def test_code_is_named_with_its_commit_and_others_that_differ_are_counted() -> None:
    assert difference(told({"code": "a"}, {"code": "b"}, {"code": "c"}, {"code": "a"})) == (
        "Every rank must have the same code, but rank 0 on host1 has a (commit c0) and rank 1 on host2 has b (commit "
        "c1) (and 1 more): bring the project's folder on both to the same version."
    )


def test_a_fact_that_a_rank_does_not_know_differs() -> None:
    assert "rank 1 on host2 has none" in difference(told({"manifest": "a"}, {}))


def test_every_setting_that_differs_is_named_with_both_values() -> None:
    first = {"seed": "0", "model.width": "16", "job": "1"}
    found = settings_apart(told(first, first, first | {"seed": "1", "out": "'x'"}))
    assert "on rank 0 on host1 and rank 2 on host3 'out' is not there and 'x'; 'seed' is 0 and 1: give every" in found


def test_passwords_are_left_out_of_what_differs() -> None:
    found = settings_apart(told({"tracking.uri": "'http://me:word@a'"}, {"tracking.uri": "'http://me:word@b'"}))
    assert "word" not in found
    assert "@a' and " in found


def test_clocks_may_be_a_little_apart_and_the_two_that_are_farthest_are_named() -> None:
    clocks = [Told(rank, f"host{rank + 1}", {}, clock) for rank, clock in enumerate((100.0, 100.0 + CLOCKS, 97.0))]
    assert clocks_apart(clocks[:2]) == ""
    assert "but that of host2 is 8 s ahead of host3's" in clocks_apart(clocks)
