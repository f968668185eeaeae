"""What a reproduction leaves in its folder: the tables as Markdown and as JSON, Figure 1 and Figure 4."""

import json
from pathlib import Path

from matplotlib.figure import Figure

from finetune.figures.categories import category_figure
from finetune.figures.distribution import distribution_figure, label_counts
from finetune.reproduction.summary import Found
from finetune.reproduction.tables import markdown, numbers
from launch.atomic import whole_file
from shards.labels import Tables

FIGURE_4 = ("han", "pretrain_multi")
"""The rows whose categories are compared."""


def write_tables(out: Path, found: Found) -> list[Path]:
    """The files of all tables, written into `out`: `tables.md` and `tables.json`."""
    files = {out / "tables.md": markdown(found), out / "tables.json": json.dumps(numbers(found), indent=1) + "\n"}
    for file, text in files.items():
        with whole_file(file) as temporary:
            temporary.write_text(text)
    return list(files)


def write_figures(out: Path, tables: Path, found: Found) -> list[Path]:
    """The files of Figure 1, from the annotation tables in `tables`, and of Figure 4 where its rows have results."""
    figures: dict[Path, Figure] = {
        out / "distribution.png": distribution_figure(label_counts(Tables.load(tables))),
    }
    each = {row.title: found.categories(row.name) for row in found.rows if row.name in FIGURE_4}
    drawn = {title: categories for title, categories in each.items() if categories}
    if drawn:
        title = f"{' and '.join(drawn)}: segment F1 of each category, test, mean over seeds\n{found.warning}"
        figures[out / "categories.png"] = category_figure(drawn, title)
    for file, figure in figures.items():
        with whole_file(file) as temporary:
            figure.savefig(temporary, dpi=150, format="png")
    return list(figures)
