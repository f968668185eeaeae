"""The timeline of one video."""

import re
import warnings
from io import BytesIO

from matplotlib.figure import Figure

from finetune.figures.timeline import COLOURS, timeline_figure
from finetune.parses.events import Event, VideoParse
from shards.labels import CATEGORIES

EVENTS = (
    Event("Speech", "audio", 0, 4, 0.93),
    Event("Speech", "audio", 6, 10, 0.71),
    Event("Dog", "audio", 2, 3, 0.55),
    Event("Dog", "visual", 1, 10, 0.99),
    Event("Dog", "audio_visual", 2, 3, 0.55),
)
TRUTH = (Event("Speech", "audio", 0, 5, 1.0), Event("Banjo", "visual", 0, 10, 1.0))


def parse(key: str = "abc_30_40", events: tuple[Event, ...] = EVENTS, seconds: int = 10) -> VideoParse:
    return VideoParse(key, seconds, events, {})


def bars(figure: Figure, lane: int, hatched: bool) -> list[tuple[float, float]]:
    patches = [bar for bar in figure.axes[lane].patches if bool(bar.get_hatch()) == hatched]
    return sorted((bar.get_x(), bar.get_x() + bar.get_width()) for bar in patches)


def test_three_lanes_show_the_events_where_they_are() -> None:
    figure = timeline_figure(parse())
    assert [panel.get_title("left") for panel in figure.axes] == ["audio", "visual", "audio-visual"]
    assert bars(figure, 0, hatched=False) == [(0, 4), (2, 3), (6, 10)]
    assert bars(figure, 1, hatched=False) == [(1, 10)]
    assert bars(figure, 2, hatched=False) == [(2, 3)]
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.93", "0.71", "0.55"]


def test_rows_are_the_categories_of_a_lane_in_their_own_colours() -> None:
    audio = timeline_figure(parse()).axes[0]
    assert [label.get_text() for label in audio.get_yticklabels()] == ["Speech", "Dog"]
    colours = {round(bar.get_y() + bar.get_height() / 2): bar.get_facecolor() for bar in audio.patches}
    assert colours == {0: COLOURS["Speech"], 1: COLOURS["Dog"]}
    assert len(set(COLOURS.values())) == len(CATEGORIES)


def test_truth_stands_hatched_below_the_prediction_when_it_is_known() -> None:
    figure = timeline_figure(parse(), TRUTH)
    assert bars(figure, 0, hatched=True) == [(0, 5)]
    assert bars(figure, 1, hatched=True) == [(0, 10)]
    assert bars(figure, 0, hatched=False) == [(0, 4), (2, 3), (6, 10)]
    true = next(bar for bar in figure.axes[0].patches if bar.get_hatch())
    speech = min((bar for bar in figure.axes[0].patches if not bar.get_hatch()), key=lambda bar: bar.get_x())
    assert true.get_y() >= speech.get_y() + speech.get_height() - 1e-9
    said = [text.get_text() for text in figure.legends[0].get_texts()]
    assert said == ["predicted, with its confidence", "true", "Speech", "Dog", "Banjo"]
    assert "true" not in [text.get_text() for text in timeline_figure(parse()).legends[0].get_texts()]


def test_a_lane_without_events_says_so() -> None:
    figure = timeline_figure(parse(events=()), ())
    assert [[text.get_text() for text in panel.texts] for panel in figure.axes] == [["no event"]] * 3
    figure.savefig(BytesIO())


def test_a_short_video_has_an_axis_of_its_own_length() -> None:
    figure = timeline_figure(parse(events=(Event("Dog", "audio", 0, 6, 0.5),), seconds=6))
    assert {panel.get_xlim() for panel in figure.axes} == {(0, 6)}


def test_a_key_with_signs_of_mathematics_is_drawn_as_it_is() -> None:
    timeline_figure(parse(key="$x_{2}^$_0_10")).savefig(BytesIO())


def test_what_no_font_can_write_is_a_box_and_no_noise() -> None:
    figure = timeline_figure(parse(key="été 日\U0010ffff\ud800"))
    with warnings.catch_warnings(action="error"):
        figure.savefig(BytesIO())
    assert figure._suptitle is not None
    assert re.fullmatch("été [日□]□□", figure._suptitle.get_text())


def test_a_lane_without_sound_or_picture_says_so() -> None:
    for blank, said in (
        ({"audio": [(0, 9.4)], "audio_visual": [(0, 9.4)]}, ["no sound", "no event", "no sound"]),
        ({"visual": [(0, 10)], "audio_visual": [(0, 10)]}, ["no event", "no picture", "no picture"]),
        ({"audio": [(0, 4)], "visual": [(4, 10)], "audio_visual": [(0, 10)]}, ["no event"] * 2 + ["nothing known"]),
    ):
        figure = timeline_figure(parse(events=()), blank=blank)
        assert [panel.texts[0].get_text() for panel in figure.axes] == said
    silent = {lane: [(0, 10)] for lane in ("audio", "visual", "audio_visual")}
    assert timeline_figure(parse(events=()), blank=silent).axes[2].texts[0].get_text() == "no sound and no picture"


def test_a_warning_stands_below_the_title() -> None:
    title = timeline_figure(parse(), warning="RANDOM WEIGHTS")._suptitle
    assert title is not None
    assert title.get_text() == "abc_30_40\nRANDOM WEIGHTS"


def test_a_long_video_has_numbers_only_where_there_is_room_and_fewer_marks() -> None:
    events = (Event("Dog", "audio", 0, 4, 0.5), Event("Dog", "audio", 100, 200.4, 0.75))
    panel = timeline_figure(parse(events=events, seconds=600)).axes[0]
    assert [text.get_text() for text in panel.texts] == ["0.75"]
    assert len(panel.get_xticks()) < 20


def test_what_cannot_be_known_is_grey() -> None:
    figure = timeline_figure(parse(events=()), blank={"audio": [(2, 5)], "visual": [], "audio_visual": [(2, 5)]})
    assert [bars(figure, lane, hatched=False) for lane in range(3)] == [[(2, 5)], [], [(2, 5)]]
    assert "not parsed" in figure.legends[0].get_texts()[-1].get_text()
