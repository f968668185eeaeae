"""The exchange: every rank sees the rows of all others once, and sends no gradient.

A rank's rows come first, to be compared with each other while the others' are on their way: all at once (gather) where
that fits into memory, else the rows of one rank after the other (ring), which hold three times a rank's own rows.
Components are a few numbers a snippet and always known everywhere.
"""

from collections.abc import Iterator, Sequence
from typing import Literal

import torch
import torch.distributed as dist
from jaxtyping import Bool, Float, Int
from torch import Tensor

from pretrain.loss.pairs import AUDIO, VISUAL, Rows, Snippets

Exchange = Literal["auto", "gather", "ring"]
Block = tuple[Rows, Rows]
"""Audio and visual rows that are held at a time."""


def introduce(ids: Int[Tensor, "snippet way"], present: Bool[Tensor, "snippet 2"] | None = None) -> Snippets:
    """All ranks' snippets, from this rank's components and which rows they have (None: both). Collective."""
    if present is None:
        present = torch.ones(len(ids), 2, dtype=torch.bool, device=ids.device)
    table, bounds = _gather(torch.cat((ids.to(torch.int64), present.to(torch.int64)), dim=1))
    known = table[:, :-2]
    numbered = [way.unique(return_inverse=True)[1] for way in known.unbind(1)]
    rank = dist.get_rank() if len(bounds) > 2 else 0
    return Snippets(torch.stack(numbered, dim=1), table[:, -2:].bool(), bounds, rank)


def sort_own(rows: Sequence[Tensor], snippets: Snippets) -> Float[Tensor, "place width"]:
    """This rank's audio rows, its visual rows, and padding up to what the rank with the most rows has."""
    padded = rows[AUDIO].new_zeros(max(map(sum, snippets.held)), rows[AUDIO].shape[1])
    audio, visual = snippets.held[snippets.rank]
    for modality, part in ((AUDIO, padded[:audio]), (VISUAL, padded[audio : audio + visual])):
        own = snippets.order(snippets.rank, modality) - snippets.first
        torch.index_select(rows[modality], 0, own, out=part)
    return padded


def block_of(values: Float[Tensor, "place width"], snippets: Snippets, rank: int) -> Block:
    """The rows of a rank as it sent them: audio, then visual, then padding."""
    audio, visual = snippets.held[rank]
    parts = values[:audio], values[audio : audio + visual]
    return (
        Rows(parts[AUDIO], snippets.ids[snippets.order(rank, AUDIO)]),
        Rows(parts[VISUAL], snippets.ids[snippets.order(rank, VISUAL)]),
    )


def blocks(mine: Float[Tensor, "place width"], snippets: Snippets, way: Exchange, gather_mib: int) -> Iterator[Block]:
    """This rank's rows, then those of all others, each once. Collective: take all of them.

    `auto` gathers up to so many MiB of rows in the global batch. This rank's block stays; any other is overwritten when
    the next but one is asked for.
    """
    own = block_of(mine, snippets, snippets.rank)
    mib = sum(map(sum, snippets.held)) * mine.shape[1] * mine.element_size() / 2**20
    if snippets.ranks == 1:
        yield own
    elif way == "gather" or (way == "auto" and mib <= gather_mib):
        yield from _gathered(own, mine, snippets)
    else:
        yield from _ring(own, mine, snippets)


def _gathered(own: Block, mine: Float[Tensor, "place width"], snippets: Snippets) -> Iterator[Block]:
    everyone = mine.new_empty(snippets.ranks, *mine.shape)
    work = dist.all_gather(list(everyone.unbind()), mine, async_op=True)
    yield own
    work.wait()
    flat = everyone.flatten(0, 1)
    yield _others(flat, snippets, AUDIO), _others(flat, snippets, VISUAL)


def _others(everyone: Float[Tensor, "place width"], snippets: Snippets, modality: int) -> Rows:
    """The other ranks' rows of a modality, from where each rank's audio and then visual rows lie padded."""
    longest = len(everyone) // snippets.ranks
    places, order = [], []
    for rank, (audio, visual) in enumerate(snippets.held):
        if rank != snippets.rank:
            begin = rank * longest + (audio if modality == VISUAL else 0)
            places.append(torch.arange(begin, begin + (audio, visual)[modality], device=everyone.device))
            order.append(snippets.order(rank, modality))
    ids = snippets.ids[torch.cat(order)]
    by_first = ids[:, 0].argsort(stable=True)
    return Rows(everyone[torch.cat(places)[by_first]], ids[by_first])


def _ring(own: Block, mine: Float[Tensor, "place width"], snippets: Snippets) -> Iterator[Block]:
    """While a block is compared it is sent on to the next rank, and the one of the rank before arrives."""
    size, rank = snippets.ranks, snippets.rank
    block, held, buffers = own, mine, [torch.empty_like(mine) for _ in range(min(2, size - 1))]
    for step in range(1, size):
        arriving = buffers[step % len(buffers)]
        sent = dist.P2POp(dist.isend, held, (rank + 1) % size)
        works = dist.batch_isend_irecv([sent, dist.P2POp(dist.irecv, arriving, (rank - 1) % size)])
        yield block
        for work in works:
            work.wait()
        block, held = block_of(arriving, snippets, (rank - step) % size), arriving
    yield block


def _gather(table: Int[Tensor, "row column"]) -> tuple[Int[Tensor, "all column"], tuple[int, ...]]:
    """Every rank's rows in rank order, and where each rank's begin and the last's end; any number of rows a rank."""
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return table, (0, len(table))
    counts = torch.empty(dist.get_world_size(), dtype=torch.int64, device=table.device)
    dist.all_gather(list(counts.split(1)), torch.tensor([len(table)], device=table.device))
    held, bounds = counts.tolist(), (0, *counts.cumsum(0).tolist())
    padded = table.new_zeros((max(held), table.shape[1]))
    padded[: len(table)] = table
    everyone = [torch.empty_like(padded) for _ in held]
    dist.all_gather(everyone, padded)
    return torch.cat([part[:count] for part, count in zip(everyone, held, strict=True)]), bounds
