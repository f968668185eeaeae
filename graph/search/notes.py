"""The notes of an unfinished search: how far it is, and what it found; a later start goes on from them.

The pairs lie beside the notes in a file of their own; the notes say how many of them count.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from graph.search.best import Lists
from graph.search.neighbours import Neighbours
from graph.search.pairs import Pairs
from launch.atomic import whole_file

FORMAT = "soundsight-search-v1"


@dataclass(frozen=True)
class Kept:
    """What an earlier start noted."""

    lists: Lists
    pairs: int
    """Pairs that were kept by then; -1: they were too many."""
    steps: int
    """Steps that were done."""


def beside(notes: Path | None) -> Path | None:
    """Where the pairs of a search lie that has notes."""
    return notes and notes.with_suffix(".pairs")


def keep(notes: Path, identity: str, lists: Lists, pairs: Pairs, done: int) -> None:
    """Writes notes, whole or not at all; `identity` says which search they are of, and what a step is."""
    pairs.settle()
    near = lists.near
    tensors = {"indices": near.indices, "similarities": near.similarities, "bar": lists.bar}
    with whole_file(notes) as temporary:
        header = {"identity": f"{FORMAT}: {identity}"}
        save_file(tensors | {"done": np.array([done, pairs.count])}, temporary, header)


def kept_in(notes: Path, identity: str) -> Kept | None:
    """What was noted; None where nothing was, or by another search."""
    if not notes.exists():
        return None
    try:
        with safe_open(notes, "np") as file:
            if (file.metadata() or {}).get("identity") != f"{FORMAT}: {identity}":
                return None
            near = Neighbours(file.get_tensor("indices"), file.get_tensor("similarities"))
            lists, (steps, pairs) = Lists(near, file.get_tensor("bar")), file.get_tensor("done").tolist()
    except (SafetensorError, OSError):
        return None
    return Kept(lists, pairs, steps)
