"""A page made, opened and looked at."""

from pathlib import Path

from finetune.page.page import Made, Played, page
from finetune.parses.whole import Whole
from tests.finetune.page.browser import Browser
from tests.finetune.page.test_page import MADE


def show(browser: Browser, folder: Path, whole: Whole, played: Played, made: Made = MADE, **how: object) -> None:
    (folder / "page.html").write_text(page(whole, made, played), encoding="utf-8")
    browser.open(folder / "page.html", **how)  # type: ignore[arg-type]


def at(browser: Browser) -> float:
    return float(browser.evaluate("now()"))


def labels(browser: Browser, selector: str) -> list[str]:
    found = browser.evaluate(f"[...document.querySelectorAll({selector!r})].map(e => e.getAttribute('aria-label'))")
    return list(found)
