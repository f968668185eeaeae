"""Letters: what pictures can write of a name that may be in any script."""

from functools import lru_cache

from matplotlib.font_manager import FontProperties, findfont, fontManager, get_font
from matplotlib.text import Text

FONTS = (
    *("DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans CJK KR", "Noto Sans JP"),
    *("Hiragino Sans", "PingFang SC", "Apple SD Gothic Neo", "Arial Unicode MS", "Yu Gothic", "Microsoft YaHei"),
    *("Malgun Gothic", "Segoe UI", "Segoe UI Symbol", "WenQuanYi Zen Hei", "IPAGothic", "Droid Sans Fallback"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Thai", "Noto Emoji", "Symbola"),
)
"""Fonts that are asked in turn, as far as they are installed; the first is matplotlib's own."""
UNKNOWN = "□"
"""Stands for a letter that none of them has."""


def write(text: Text, words: str) -> None:
    """Lets a text say these words as they are, in fonts that have their letters; what none has becomes `UNKNOWN`."""
    text.set_fontfamily(_installed())
    text.set_text("".join(letter if letter == "\n" or ord(letter) in _known() else UNKNOWN for letter in words))
    text.set_parse_math(False)  # a name may hold dollar signs


@lru_cache(maxsize=1)
def _installed() -> list[str]:
    there = set(fontManager.get_font_names())
    return [name for name in FONTS if name in there]


@lru_cache(maxsize=1)
def _known() -> frozenset[int]:
    """The letters of all these fonts, by code point."""
    files = [findfont(FontProperties(family=name)) for name in _installed()]
    return frozenset(point for file in files for point in get_font(file).get_charmap())
