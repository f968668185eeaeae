"""The paper's pairs: an audio-visual snippet pair drawn at random is compared with all snippets of the global batch.

A pair counts where it begins at a drawn snippet's row. The drawn rows are known to every rank, which compares its own
rows with them: that gives these rows' gradient, and a part of the drawn rows' own. Those few rows' parts are added up
over ranks with the sums; no other embedding travels.
"""

from collections.abc import Sequence

import numpy as np
import torch
import torch.distributed as dist
from jaxtyping import Int
from torch import Tensor

from pretrain.loss.hinges import COSINES, Listed, Slopes, as_floats, both_kinds, same, total
from pretrain.loss.pairs import AUDIO, BLOCKS, VISUAL, Mode, Rows, Snippets
from pretrain.loss.sweep import Side, Tally, add_gradient


def draw(snippets: Snippets, count: int, seed: int, step: int) -> Int[Tensor, " anchor"]:
    """Different snippets of the global batch that have a row, a function of the seed and the step; all if fewer."""
    there = snippets.present.any(1).nonzero()[:, 0]
    drawn = np.random.default_rng((seed, step)).permutation(len(there))[:count]
    return there[torch.from_numpy(drawn).to(there.device)]


def sweep_drawn(
    own: Sequence[Side], snippets: Snippets, anchors: Int[Tensor, " anchor"], mode: Mode, tally: Tally
) -> None:
    """Adds the pairs of the drawn snippets' rows with this rank's. Collective.

    The slopes are whole afterwards, the sums this rank's share.
    """
    places = [snippets.order(snippets.rank, modality) for modality in (AUDIO, VISUAL)]
    theirs = [anchors[snippets.present[anchors, modality]] for modality in (AUDIO, VISUAL)]
    known = [_known(own[modality], places[modality], theirs[modality], snippets) for modality in (AUDIO, VISUAL)]
    for query, key in BLOCKS[mode]:
        for side, place in zip(own[key].chunks(tally.tile), places[key].split(tally.tile), strict=False):
            itself = Listed(*_where(place, theirs[query])) if query == key else None
            _add(side, known[query], itself, tally)
    for modality in (AUDIO, VISUAL):
        _give_back(known[modality].slopes, own[modality].slopes, *_where(places[modality], theirs[modality]))


def _where(places: Int[Tensor, " row"], theirs: Int[Tensor, " anchor"]) -> tuple[Tensor, Tensor]:
    """Which of some rows are drawn ones, and which."""
    row, anchor = (places[:, None] == theirs[None, :]).nonzero().unbind(1)
    return row, anchor


def _known(own: Side, places: Int[Tensor, " row"], theirs: Int[Tensor, " anchor"], snippets: Snippets) -> Side:
    """The drawn rows of a modality, and slopes for this rank's part of their gradient. Collective."""
    row, anchor = _where(places, theirs)
    values = own.rows.values.new_zeros(len(theirs), own.rows.values.shape[1])
    values[anchor] = own.rows.values[row]
    _add_over_ranks(values)
    slopes = own.slopes and Slopes.zeros(values, apart=not own.slopes.together)
    return Side(Rows(values, snippets.ids[theirs]), slopes)


def _add(side: Side, anchor: Side, itself: Listed | None, tally: Tally) -> None:
    scores = side.rows.values @ anchor.rows.values.T
    tally.sums[COSINES] += total(scores) - (0 if itself is None else scores[itself.row, itself.column].sum())
    ids = [as_floats(each.rows.ids, scores) for each in (side, anchor)]
    over, under = both_kinds(scores, same(*ids), itself, tally.margins, tally.sums)
    add_gradient(over, under, side, anchor, tally.margins)


def _give_back(found: Slopes | None, own: Slopes | None, row: Tensor, anchor: Tensor) -> None:
    """Adds what all ranks found for the drawn rows to the slopes of those that are this rank's. Collective."""
    if found is None or own is None:
        return
    for parts, slopes in ((found.negative, own.negative), (found.positive, own.positive)):
        _add_over_ranks(parts)
        slopes.index_add_(0, row, parts[anchor])
        if own.together:
            break


def _add_over_ranks(rows: Tensor) -> None:
    if dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(rows)
