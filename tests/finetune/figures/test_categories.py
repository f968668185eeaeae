"""The figure of category-wise F1."""

from itertools import pairwise

from finetune.figures.categories import category_figure
from shards.labels import CATEGORIES

FIRST = {"audio": [float(n) for n in range(25)], "visual": [None, *(float(n) for n in range(24))]}
SECOND = {"audio": [50.0] * 25, "visual": [50.0] * 25}


def test_one_panel_a_modality_with_every_category_best_on_top() -> None:
    audio, visual = category_figure({"han": FIRST}, "title").axes
    assert [audio.get_title(), visual.get_title()] == ["audio", "visual"]
    labels = [label.get_text() for label in audio.get_yticklabels()]
    assert labels[0] == CATEGORIES[24].replace("_", " ")
    assert labels[-1] == CATEGORIES[0]
    assert sorted(labels) == sorted(name.replace("_", " ") for name in CATEGORIES)
    bottom, top = audio.get_ylim()
    assert bottom > top


def test_a_category_without_a_score_has_a_dash_and_no_bar_where_zero_has_one() -> None:
    panels = category_figure({"han": FIRST}, "title").axes
    audio, visual = ([bar.get_width() for bar in panel.patches] for panel in panels)
    assert (len(audio), audio.count(0)) == (25, 1)
    assert (len(visual), visual.count(0)) == (24, 1)
    (dash,) = (text for text in panels[1].texts if text.get_text() == "–")
    names = [label.get_text() for label in panels[0].get_yticklabels()]
    assert names[round(dash.get_position()[1])] == CATEGORIES[0].replace("_", " ")
    assert "–" not in [text.get_text() for text in panels[0].texts]


def test_a_missing_score_does_not_lower_a_category_and_none_at_all_stands_last() -> None:
    found = {"audio": [None, 80.0, *[50.0] * 23], "visual": [None, None, *[50.0] * 23]}
    labels = [label.get_text() for label in category_figure({"han": found}, "title").axes[0].get_yticklabels()]
    assert [labels[0], labels[-1]] == [CATEGORIES[index].replace("_", " ") for index in (1, 0)]


def test_several_systems_stand_side_by_side_with_a_legend() -> None:
    figure = category_figure({"han": FIRST, "ours": SECOND}, "title")
    for panel, counts in zip(figure.axes, ([25, 25], [24, 25]), strict=True):
        assert [len(bars) for bars in panel.containers] == counts
        spans = sorted((bar.get_y(), bar.get_y() + bar.get_height()) for bar in panel.patches)
        assert all(one[1] <= other[0] for one, other in pairwise(spans))
        assert len({bar.get_facecolor() for bar in panel.patches}) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["han", "ours"]


def test_a_system_without_any_score_is_drawn_as_dashes() -> None:
    panels = category_figure({"han": {"audio": [None] * 25, "visual": [None] * 25}}, "title").axes
    assert [[text.get_text() for text in panel.texts] for panel in panels] == [["–"] * 25] * 2
