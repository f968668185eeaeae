"""What could not be used is a table that any program reads, whatever stands in names and reasons."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards.extract.making.failures import FEW, Failure, counted, in_order, printable, read, table, tell

SECONDS = st.none() | st.floats(0, 1e5).map(lambda second: float(f"{second:g}"))
FAILURES = st.lists(st.builds(Failure, st.text(), SECONDS, st.text()))


@given(FAILURES)
def test_the_table_holds_every_fault_on_a_line_of_its_own(faults: list[Failure]) -> None:
    text = table(faults)
    assert text.splitlines()[0] == "file,second,reason"
    assert len(text.split("\n")) == len(faults) + 2
    text.encode()
    shown = [Failure(printable(each.file), each.second, printable(each.reason)) for each in faults]
    assert read(text) == shown


@given(FAILURES)
def test_faults_stand_once_each_by_file_and_time(faults: list[Failure]) -> None:
    ordered = in_order([*faults, *faults])
    assert set(ordered) == set(faults)
    assert len(ordered) == len(set(faults))
    places = [(each.file, -1 if each.second is None else each.second) for each in ordered]
    assert places == sorted(places)


def test_a_fault_of_a_whole_file_has_no_second() -> None:
    rows = list(csv.reader(io.StringIO(table([Failure("a, b", None, 'So "bad".'), Failure("c", 12.5, "Damaged.")]))))
    assert rows[1:] == [["a, b", "", 'So "bad".'], ["c", "12.5", "Damaged."]]


def test_the_first_are_said_and_the_rest_counted(capsys: pytest.CaptureFixture[str]) -> None:
    tell([Failure(f"file\n{number}", 0.5, "Damaged.") for number in range(FEW + 3)])
    said = capsys.readouterr().out.splitlines()
    assert said[1] == r"  file\n0, second 0.5: Damaged."
    assert said[-1] == "  … and 3 more"
    assert len(said) == FEW + 2
    tell([])
    assert not capsys.readouterr().out


def test_lone_surrogates_of_undecodable_names_are_shown() -> None:
    assert printable("\udcff ü") == r"\udcff ü"


def test_a_count_has_its_word() -> None:
    assert (counted(1, "clip"), counted(0, "clip"), counted(1200, "clip")) == ("1 clip", "0 clips", "1,200 clips")
