"""The page in a real browser where nothing plays, or there is more than can be looked through."""

from dataclasses import replace
from pathlib import Path

import pytest

from finetune.page.page import Played
from finetune.parses.whole import Whole
from tests.finetune.page.browser import Browser
from tests.finetune.page.looking import at, labels, show


def test_parts_that_were_not_parsed_are_shown_as_such(browser: Browser, whole: Whole, tmp_path: Path) -> None:
    show(browser, tmp_path, replace(whole, clips=whole.clips[1:]), Played("none"))
    assert (
        browser.evaluate(
            "[...document.querySelectorAll('.lane .gone')].filter(e => e.textContent === 'not parsed').length"
        )
        == 3
    )
    assert browser.evaluate("$('now').textContent") == "not parsed here"
    browser.evaluate("seek(11)")
    assert browser.evaluate("$('now').textContent") == "Heard: Dog"


@pytest.mark.parametrize(
    "played", [Played("none"), Played("linked", "gone.mp4"), Played("embedded", "data:video/mp4;base64,AAAA")]
)
def test_without_a_video_that_plays_everything_else_works(
    browser: Browser, whole: Whole, played: Played, tmp_path: Path
) -> None:
    show(browser, tmp_path, whole, played)
    browser.until("document.getElementById('play').disabled")
    assert "works without it" in browser.evaluate("document.getElementById('blank').textContent")
    browser.press("]")
    browser.press("]")
    assert at(browser) == 8
    assert labels(browser, ".event[aria-current=true]") == ["Dog, heard from 8 to 13 seconds, confidence 0.90"]


FAILED = """
    Object.defineProperty(HTMLMediaElement.prototype, "error", { get: () => ({ code: 4 }) });
    addEventListener("error", event => event.stopImmediatePropagation(), true);
"""
"""A video that had failed before the page's script could listen to it."""


def test_a_video_that_failed_before_the_page_looked_is_noticed(browser: Browser, whole: Whole, tmp_path: Path) -> None:
    show(browser, tmp_path, whole, Played("linked", "gone.mp4"), before=FAILED)
    assert browser.evaluate("document.getElementById('play').disabled")
    assert "works without it" in browser.evaluate("document.getElementById('blank').textContent")


def test_a_file_of_a_whole_day_is_drawn_and_sought_in(browser: Browser, whole: Whole, tmp_path: Path) -> None:
    full = replace(whole.clips[0], truth=None, notes=())
    heard = {
        category: values if category == "Dog" else [] for category, values in full.parse["curves"]["audio"].items()
    }
    quiet = replace(full, parse={**full.parse, "events": [], "curves": {"audio": heard, "visual": heard}})
    clips = (replace(full if k % 40 == 0 else quiet, start=10.0 * k, end=10.0 * k + 10) for k in range(8640))
    show(browser, tmp_path, Whole("long", "x", 86400.0, tuple(clips)), Played("none"))
    assert len(labels(browser, ".event")) == 2 * 216
    browser.evaluate("seek(5400)")
    assert browser.evaluate("document.getElementById('at').textContent") == "1:30:00"
    assert browser.said == []
