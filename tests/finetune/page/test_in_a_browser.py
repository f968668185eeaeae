"""The page in a real browser: it plays, follows, is worked by keys alone, and asks nobody for anything."""

from base64 import b64encode
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pytest

from finetune.page.page import Played
from finetune.parses.whole import Whole
from tests.finetune.page.browser import Browser
from tests.finetune.page.looking import at, labels, show

pytest.importorskip("av", reason="a video to play is written by PyAV, which is not installed")
SECONDS = 22.4


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from shards.extract.filming.encode import write_video

    path = tmp_path_factory.mktemp("film") / "my film #1.mp4"
    frames = (np.full((48, 64, 3), number % 250, np.uint8) for number in range(int(SECONDS * 10)))
    write_video(path, frames, 10, 0.1 * np.sin(np.arange(int(SECONDS * 16000)) / 8).astype(np.float32), 16000)
    return path


@pytest.fixture
def shown(browser: Browser, whole: Whole, film: Path, tmp_path: Path) -> Browser:
    """The browser with the page of a file, its copy inside, ready to play."""
    show(browser, tmp_path, whole, embedded(film))
    browser.until("video.readyState === 4")
    return browser


def embedded(film: Path) -> Played:
    return Played("embedded", f"data:video/mp4;base64,{b64encode(film.read_bytes()).decode()}", "A copy.")


def test_the_lanes_show_the_events_at_their_times_and_nothing_is_asked_of_anybody(shown: Browser) -> None:
    assert labels(shown, ".lane.audio .event") == [
        "Dog, heard from 8 to 13 seconds, confidence 0.90",
        "Car, heard from 15 to 18 seconds, confidence 0.90",
    ]
    assert labels(shown, ".lane.visual .event") == ["Dog, seen from 2 to 5 seconds, confidence 0.90"]
    assert labels(shown, ".lane.audio .truth") == ["True: Dog from 7 to 10 seconds"]
    boxes = "['.lane.audio .event', '.lane.audio .plot'].map(s => document.querySelector(s).getBoundingClientRect())"
    left, right = shown.evaluate(
        f"(() => {{ const [e, p] = {boxes}; return [(e.left - p.left) / p.width, (e.right - p.left) / p.width]; }})()"
    )
    assert (left, right) == pytest.approx((8 / SECONDS, 13 / SECONDS), abs=2e-3)
    assert "no sound" in shown.evaluate("document.querySelector('.lane.audio .gone').textContent")
    assert not shown.evaluate("$('more').hidden || $('zoom').hidden")
    assert shown.asked == []
    assert shown.said == []


def test_playing_moves_the_playhead_with_the_video(shown: Browser) -> None:
    shown.press(" ")
    shown.until("!video.paused && video.currentTime > 0.3")
    assert shown.evaluate("document.getElementById('play').textContent.trim()") == "Pause"
    shown.press(" ")
    shown.until("video.paused && !video.seeking")
    place = "[...['playhead', 'axis'].map(id => document.getElementById(id).getBoundingClientRect())]"
    shown.evaluate("new Promise(requestAnimationFrame).then(() => 0)")
    head = shown.evaluate(f"(() => {{ const [h, a] = {place}; return (h.left + 1 - a.left) / a.width; }})()")
    assert head == pytest.approx(at(shown) / SECONDS, abs=4e-3)
    assert shown.said == []


def test_keys_go_a_second_an_event_and_to_the_ends(shown: Browser) -> None:
    places = []
    for key in ("]", "]", "]", "]", "[", "ArrowLeft", "ArrowRight", "ArrowRight", "Home", "End"):
        shown.press(key)
        places.append(round(at(shown), 2))
    assert places == [2, 8, 15, 15, 8, 7, 8, 9, 0, SECONDS]
    assert "2.0 seconds" not in shown.evaluate("document.getElementById('said').textContent")
    shown.press("Home")
    shown.press("]")
    assert shown.evaluate("document.getElementById('said').textContent") == "2.0 seconds. seen: Dog."
    assert labels(shown, ".event[aria-current=true]") == ["Dog, seen from 2 to 5 seconds, confidence 0.90"]


def test_tab_reaches_everything_in_order_and_enter_on_an_event_leads_to_it(shown: Browser) -> None:
    reached = list[str]()
    for _ in range(60):
        shown.press("Tab")
        told = shown.evaluate(
            "(() => { const e = document.activeElement; return e === document.body ? '' : "
            "[e.id || e.className || e.tagName, getComputedStyle(e).outlineStyle].join(' '); })()"
        )
        if told == "" or (reached and told == reached[0]):
            break
        reached.append(told)
    assert all(each.endswith("solid") for each in reached), reached  # the focus is seen
    names = [each.rsplit(" ", 1)[0] for each in reached]
    for name in ("theme", "seek", "play", "before", "after", "mute", "more", "event", "class"):
        assert name in names, (name, names)
    assert names.count("event") == 3
    assert names.count("class") >= 12
    shown.evaluate("document.querySelectorAll('.lane.audio .event')[1].focus()")
    shown.press("Enter")
    assert round(at(shown), 2) == 15
    assert shown.evaluate("document.activeElement.className") == "event"
    assert shown.evaluate("document.getElementById('class').selectedOptions[0].textContent") == "Car"


def test_the_confidences_are_those_of_the_second_and_absent_ones_are_no_number(shown: Browser) -> None:
    row = "[...document.querySelectorAll('.class')].find(b => b.firstChild.textContent === 'Dog').lastChild.textContent"
    found = {}
    for second in (0, 3, 9.5, 19):
        shown.evaluate(f"seek({second})")
        found[second] = shown.evaluate(row)
    assert found == {0: "0.10 · 0.10", 3: "0.10 · 0.90", 9.5: "0.90 · 0.10", 19: "– · 0.10"}
    assert "no sound" in shown.evaluate("document.getElementById('now').textContent")


def test_a_click_on_an_event_or_a_lane_leads_there_and_space_then_plays(shown: Browser) -> None:
    shown.click(".lane.visual .event")
    assert round(at(shown), 2) == 2
    shown.press(" ")
    shown.until("!video.paused")
    shown.press("k")
    shown.until("video.paused")


@pytest.mark.parametrize("how", [{"width": 360, "height": 740}, {"width": 1200}, {"width": 1200, "dark": True}])
def test_nothing_is_cut_off_at_any_width_and_words_stand_out_in_light_and_dark(
    browser: Browser, whole: Whole, film: Path, tmp_path: Path, how: dict[str, object]
) -> None:
    show(browser, tmp_path, whole, embedded(film), **how)
    assert browser.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for _ in range(2):
        assert browser.evaluate(CONTRAST) >= 4.5
        browser.click("#theme")
    assert browser.said == []


CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
  const rgb = colour => {
    canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const bent = v => v <= .04 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
  const shares = [.2126, .7152, .0722, 0];
  const light = colour => rgb(colour).reduce((sum, v, k) => sum + shares[k] * bent(v / 255), 0);
  const back = e => {
    for (; e; e = e.parentElement) { const c = getComputedStyle(e).backgroundColor; if (rgb(c)[3] > 250) return c; }
    return 'white';
  };
  const ratio = e => {
    const [low, high] = [light(getComputedStyle(e).color), light(back(e))].sort((x, y) => x - y);
    return (high + .05) / (low + .05);
  };
  const words = [...document.querySelectorAll('h1, h2, h3, p, button, span, dt, dd, b, small')];
  const seen = words.filter(e => e.checkVisibility() && e.textContent.trim() && !e.closest('.hidden, .skip, .screen'));
  return Math.min(...seen.map(ratio));
})()"""
"""The smallest contrast between a word and what is behind it."""


def test_a_browser_that_plays_no_data_is_given_the_same_bytes_as_a_blob(shown: Browser) -> None:
    shown.evaluate("other()")
    shown.until("video.src.startsWith('blob:') && video.readyState === 4")
    shown.press("]")
    shown.until("video.currentTime === 2")
    assert (shown.said, shown.asked) == ([], [])


def test_a_long_file_is_linked_and_zoomed_and_its_name_may_hold_any_sign(
    browser: Browser, whole: Whole, film: Path, tmp_path: Path
) -> None:
    long = replace(whole, seconds=400.0)
    (tmp_path / film.name).write_bytes(film.read_bytes())
    show(browser, tmp_path, long, Played("linked", quote(film.name), "Linked."))
    browser.until("video.readyState === 4")
    assert browser.said == []
    assert browser.asked == [(tmp_path / film.name).as_uri()]
    widths = [browser.evaluate("document.getElementById('sheet').getBoundingClientRect().width")]
    for name in ("Zoom in", "Zoom out"):
        browser.click(f"[aria-label='{name}']")
        widths.append(browser.evaluate("document.getElementById('sheet').getBoundingClientRect().width"))
    assert widths[1] == pytest.approx(2 * widths[0], rel=0.01)
    assert widths[2] == pytest.approx(widths[0], rel=0.01)
    boxes = "['playhead', 'scroll'].map(id => $(id).getBoundingClientRect())"
    sight = f"(([head, all]) => all.left < head.left && head.left < all.right)({boxes})"
    for key in ("End", "Home"):
        browser.press(key)
        assert browser.evaluate(sight), key
