"""File names of parses: any key has one, and its own."""

import string
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.parses.folder import file_name, folder_name
from shards.schema import key_of

LONG = st.text(st.characters(exclude_characters="/", exclude_categories=("C", "Z")), min_size=1, max_size=400)


@given(LONG)
def test_a_file_name_fits_every_system_with_all_its_suffixes(key: str) -> None:
    name = file_name(key)
    assert "/" not in name
    assert "." not in name
    assert len(f"{name}.audio_visual.txt".encode()) <= 255


@given(st.text(string.ascii_letters + "._-%é", min_size=1, max_size=40))
def test_a_short_key_can_be_read_off_its_file(key: str) -> None:
    assert key_of(file_name(key)) == key


NAMES = st.lists(st.sampled_from([".", " ", "%", "2", "0", "5", "E", "x"]), min_size=1, max_size=6).map("".join)


@given(NAMES, NAMES)
def test_a_folder_s_name_hides_nothing_is_kept_by_every_system_and_is_its_own(one: str, other: str) -> None:
    name = folder_name(one)
    assert not name.startswith(".")
    assert not name.endswith((".", " "))
    assert (name == folder_name(other)) == (one == other)


@pytest.mark.parametrize("name", ["my.holiday.v2", "100% été", "a b_0_22.4", "日本 🎉"])
def test_the_folder_of_a_file_has_its_name(name: str) -> None:
    assert folder_name(name) == name


@pytest.mark.parametrize("naming", [file_name, folder_name])
@pytest.mark.parametrize("letter", ["x", "é", "語"])
def test_long_keys_that_differ_at_the_end_have_files_of_their_own(letter: str, naming: Callable[[str], str]) -> None:
    names = {naming(letter * 300 + end) for end in ("", "a", "b")}
    assert len(names) == 3
