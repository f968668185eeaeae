from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from matplotlib.axes import Axes

from graph.positives.thresholds import ThresholdSettings
from graph.report.findings import report
from graph.report.plots import draw

KEYS = [f"video{number}_0_10" for number in range(40)]


def titled(axes: list[Axes], words: str) -> list[Axes]:
    return [each for each in axes if words in each.get_title(loc="left")]


@pytest.mark.parametrize(
    ("match", "closure", "grids", "sizes"),
    [("any", "joint", 3, 1), ("any", "per_modality", 3, 2), ("all", "joint", 0, 1)],
)
def test_the_picture_holds_what_there_is(
    world: Callable, tmp_path: Path, match: str, closure: str, grids: int, sizes: int
) -> None:
    found = report(world(match, closure, threshold=0.8), KEYS, match, steps=5)
    figure = draw(found, "A graph")
    assert len(titled(figure.axes, "Joined: ")) == grids
    assert len(titled(figure.axes, "component sizes")) == sizes
    assert len(titled(figure.axes, "how similar are snippets?")) == 2
    (curves,) = titled(figure.axes, "Visual alone: where are snippets")
    np.testing.assert_allclose(curves.lines[0].get_ydata(), found.facts["visual"]["sweep"]["linked_share"], atol=1e-5)
    figure.savefig(tmp_path / "report.png", dpi=40)
    assert (tmp_path / "report.png").read_bytes().startswith(b"\x89PNG")


def test_the_levels_that_were_looked_at_are_drawn_and_the_grid_is_the_sweeps(world: Callable) -> None:
    found = report(world(), KEYS, "any", steps=5)
    figure = draw(found, "A graph")
    (axes,) = titled(figure.axes, "Audio alone: how many positives")
    levels = found.facts["audio"]["choice"]["levels"]
    assert axes.containers[0].lines[0].get_xdata().tolist() == pytest.approx([level["threshold"] for level in levels])
    (linked,) = titled(figure.axes, "share linked")
    assert found.grid is not None
    np.testing.assert_allclose(linked.images[0].get_array(), found.grid.values("linked_share").T)


def test_the_limits_that_are_drawn_are_those_of_the_choice(world: Callable) -> None:
    found = report(world(threshold=0.8), KEYS, "any", steps=5, limits=ThresholdSettings(pi0=0.035, largest=0.2))
    figure = draw(found, "A graph")
    for words, limit, told in (("where are snippets", 0.2, "20%"), ("how many positives", 0.035, "3.5%")):
        for axes in titled(figure.axes, words):
            (line,) = [line for line in axes.lines if line.get_linestyle() == ":"]
            assert list(line.get_ydata()) == [limit, limit]
            assert told in [text.get_text() for text in axes.texts]
