"""The figure of category-wise F1."""

from finetune.plots import category_figure
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


def test_a_category_without_a_score_is_marked_and_not_drawn_as_zero() -> None:
    visual = category_figure({"han": FIRST}, "title").axes[1]
    assert "–" in [text.get_text() for text in visual.texts]
    assert "0" in [text.get_text() for text in visual.texts]


def test_several_systems_stand_side_by_side_with_a_legend() -> None:
    figure = category_figure({"han": FIRST, "ours": SECOND}, "title")
    assert all(len(panel.containers) == 4 or len(panel.patches) == 50 for panel in figure.axes)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["han", "ours"]
