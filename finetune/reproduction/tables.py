"""The tables: the paper's 1 and 2 beside ours, what is only heard or seen, counterparts, and what made the numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from finetune.reproduction.rows import COUNTERPARTS, Counterpart
from finetune.reproduction.summary import Cell, Found
from finetune.scoring.metrics import KINDS, LEVELS

HEADS = {"audio": "Audio", "visual": "Visual", "audio_visual": "AV", "type_at_av": "Type@AV", "event_at_av": "Event@AV"}
EXCLUSIVE_HEADS = {"audible_only": "Audible-only", "visible_only": "Visible-only"}
MISSING = "–"


@dataclass(frozen=True)
class Grid:
    """A table as text: what a terminal and a Markdown file show alike."""

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    """Columns that hold words, which stand on the left; the others hold numbers."""

    def rich(self) -> Table:
        """For a terminal."""
        table = Table(title=self.title, title_justify="left", title_style="bold")
        for place, head in enumerate(self.heads):
            table.add_column(head, justify="left" if place < self.words else "right", no_wrap=place >= self.words)
        for row in self.rows:
            table.add_row(*row)
        return table

    def markdown(self) -> str:
        """For a file."""
        heads = [head.replace("\n", " ") for head in self.heads]
        sides = ["---" if place < self.words else "--:" for place in range(len(heads))]
        lines = [heads, sides, *self.rows]
        return "\n".join([f"**{self.title}**", "", *(f"| {' | '.join(line)} |" for line in lines)]) + "\n"


def grids(found: Found) -> list[Grid]:
    """Every table for which there is something to show."""
    shown = [_paper(found, level, number) for number, level in enumerate(LEVELS, start=1)]
    shown += [_exclusive(found)] if any("exclusive" in each.scores for each in found.results.values()) else []
    shown += [grid] if (grid := _counterparts(found)).rows else []
    facts = tuple((subject, fact, titles) for subject, fact, titles in found.facts())
    return [*shown, *([Grid("What produced the numbers", ("what", "fact", "rows"), facts, 3)] if facts else [])]


def markdown(found: Found) -> str:
    """All tables as one Markdown text."""
    return "\n".join(grid.markdown() for grid in grids(found))


def numbers(found: Found) -> dict[str, Any]:
    """All tables as numbers, for programs: level → row → the paper's scores, ours, and the seeds behind them."""
    tables: dict[str, Any] = {
        level: {
            row.name: {
                "paper": dict(zip(KINDS, row.published[level], strict=True)) if row.published else None,
                "ours": _cells(KINDS, found.cells(row.name, level, KINDS)),
                "seeds": [result.identity.seed for result in found.of(row.name)],
                "missing": [seed for seed in found.seeds[row.name] if (row.name, seed) not in found.results],
            }
            for row in found.rows
        }
        for level in LEVELS
    }
    tables["counterparts"] = [
        {"row": each.row, "other": each.other, "tells": each.tells}
        | {level: _cells(KINDS, found.difference(each.row, each.other, level, KINDS)) for level in LEVELS}
        for each in COUNTERPARTS
    ]
    tables["facts"] = [{"what": what, "fact": fact, "rows": rows} for what, fact, rows in found.facts()]
    return tables


def _paper(found: Found, level: str, number: int) -> Grid:
    heads = [f"{head}\n{whose}" for head in HEADS.values() for whose in ("paper", "ours")]
    rows = []
    for row in found.rows:
        paper = [f"{value:.1f}" for value in row.published[level]] if row.published else [MISSING] * len(KINDS)
        ours = _texts(found.cells(row.name, level, KINDS))
        pairs = [cell for pair in zip(paper, ours, strict=True) for cell in pair]
        rows.append((row.title, *pairs, found.shown_seeds(row.name)))
    title = (
        f"Table {number}: {level}-level F-scores in percent, test; ours: mean ± deviation over seeds{_warned(found)}"
    )
    return Grid(title, ("", *heads, f"seeds\n({MISSING} missing)"), tuple(rows))


def _exclusive(found: Found) -> Grid:
    heads = [f"{level}\n{head}" for level in LEVELS for head in EXCLUSIVE_HEADS.values()]
    rows = [
        (
            row.title,
            *(text for level in LEVELS for text in _texts(found.exclusive(row.name, level, tuple(EXCLUSIVE_HEADS)))),
        )
        for row in found.rows
    ]
    return Grid(f"What is only heard, and what is only seen{_warned(found)}", ("", *heads), tuple(rows))


def _counterparts(found: Found) -> Grid:
    heads = [f"{level}\n{head}" for level in LEVELS for head in HEADS.values()]
    shown = {row.name for row in found.rows}
    rows = [
        (each.tells, *(text for level in LEVELS for text in _texts(_difference(found, each, level), "+")))
        for each in COUNTERPARTS
        if {each.row, each.other} <= shown
    ]
    return Grid("Counterparts: differences over the seeds that both have", ("", *heads), tuple(rows))


def _difference(found: Found, pair: Counterpart, level: str) -> list[Cell | None]:
    return found.difference(pair.row, pair.other, level, KINDS)


def _warned(found: Found) -> str:
    return f"; {found.warning}" if found.warning else ""


def _texts(cells: Sequence[Cell | None], sign: str = "") -> list[str]:
    return [MISSING if cell is None else cell.text(sign) for cell in cells]


def _cells(kinds: Sequence[str], cells: Sequence[Cell | None]) -> dict[str, Mapping[str, float | None] | None]:
    whole = zip(kinds, cells, strict=True)
    return {kind: None if cell is None else {"mean": cell.mean, "deviation": cell.deviation} for kind, cell in whole}
