"""Features of several sources are joined by key; what is ambiguous or missing is said."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest

from launch.refusal import Refusal
from shards.schema import Feature
from shards.sources import Place, Source
from shards.sources.join import Selection, check_distinct, join


@dataclass(frozen=True)
class Nothing:
    """A reader that nobody reads from."""

    feature: Feature

    def where(self, name: str) -> str:
        return f"{self.feature.name}/{name}"

    def read(self, name: str, place: Place) -> np.ndarray:
        raise AssertionError(name)


def source(feature: str, *names: str, variant: str = "") -> Source:
    return Source(Nothing(Feature(feature, 1, variant, f"{feature} source")), dict.fromkeys(names, (0,)), {})


def names(selection: Selection) -> dict[str, dict[str, tuple[str, ...]]]:
    """Set → key → what the video is called in each source."""
    return {
        title: {key: tuple(name for name, _ in selection.places(key)) for key in keys}
        for title, keys in selection.sets.items()
    }


def test_without_tables_a_name_with_times_is_a_key_and_any_other_starts_at_zero() -> None:
    audio, visual = source("audio", "b_3_13", "a"), source("visual", "a_0_10", "b_3_13")
    assert names(join([audio, visual], None, "stop")) == {
        "": {"a_0_10": ("a", "a_0_10"), "b_3_13": ("b_3_13", "b_3_13")}
    }


def test_a_video_of_a_table_is_known_by_its_key_or_by_its_id() -> None:
    audio, visual = source("audio", "a_3_13", "b", "other"), source("visual", "a", "b_0_10")
    wanted: dict[str, Sequence[str]] = {"train": ["b_0_10"], "test": ["a_3_13"]}
    assert names(join([audio, visual], wanted, "stop")) == {
        "train": {"b_0_10": ("b", "b_0_10")},
        "test": {"a_3_13": ("a_3_13", "a")},
    }


def test_two_keys_of_one_id_are_two_videos_where_a_source_knows_their_keys() -> None:
    keys = ["a_0_10", "a_10_20"]
    assert join([source("audio", *keys)], {"train": keys}, "stop").sets["train"] == keys
    with pytest.raises(Refusal, match=r"'a_0_10' and 'a_10_20' .* would both read 'audio/a'"):
        join([source("audio", "a")], {"train": keys}, "stop")


def test_a_video_that_lacks_a_feature_is_refused_with_its_place_or_left_out_and_listed() -> None:
    sources = [source("audio", "a", "b", "c"), source("visual", "b")]
    with pytest.raises(Refusal, match=r"'visual/a' is missing \(2 of 3 are\)"):
        join(sources, None, "stop")
    selection = join(sources, None, "skip")
    assert names(selection) == {"": {"b_0_10": ("b", "b")}}
    assert selection.missing == {"": {"a_0_10": "visual/a", "c_0_10": "visual/c"}}


def test_sources_without_a_common_video_are_refused() -> None:
    with pytest.raises(Refusal, match=r"has none \(the first lacks 'visual/a'\)"):
        join([source("audio", "a"), source("visual", "b")], None, "skip")


def test_two_names_of_one_key_are_refused_with_both() -> None:
    with pytest.raises(Refusal, match=r"'audio/a' and 'audio/a_0_10' both stand for 'a_0_10'"):
        join([source("audio", "a", "a_0_10")], None, "stop")


def test_a_name_that_is_a_key_stands_for_no_other() -> None:
    """`a_3_13_0_10` is a video of its own, also where a source that names `a_3_13` lacks it."""
    with pytest.raises(Refusal, match=r"'audio/a_3_13_0_10' is missing \(1 of 2 are\)"):
        join([source("audio", "a_3_13"), source("visual", "a_3_13", "a_3_13_0_10")], None, "stop")


def test_a_feature_of_two_sources_is_refused_with_both_variants() -> None:
    check_distinct([source("vggish"), source("i3d")])
    with pytest.raises(Refusal, match=r"comes from vggish source \(raw\), and from vggish source \(signed\)"):
        check_distinct([source("vggish", variant="raw"), source("i3d"), source("vggish", variant="signed")])
