"""How true the positives are where videos have labels: what pairs and components share, beside what chance shares."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Int, Int64
from scipy.sparse import csr_array

from graph.positives.chance import same_component_pairs
from shards.schema import SECONDS

PAIRS = 50_000


@dataclass(frozen=True)
class Purity:
    """What the labels say; everything is of labelled videos only."""

    labelled: int
    """Videos with a label; the others are left out everywhere below."""
    unlabelled: int
    pairs: int
    """Same-component pairs of snippets of two labelled videos that were looked at."""
    sharing: float
    """Share of these whose videos share a label; 0 without any."""
    random: float
    """The same of pairs of snippets of two labelled videos at random: what means nothing."""
    components: int
    """Components with several labelled videos."""
    mean: float
    """Mean over these components of the share of their labelled videos that have its commonest label; 0 without any."""
    weighted: float
    """The same mean, each component counted by its snippets."""


def purity(
    ids: Int64[np.ndarray, " snippet"], labels: Sequence[frozenset[str]], seed: int, pairs: int = PAIRS
) -> Purity:
    """The purity of a labelling of snippets by the labels of their videos; a video without labels has an empty set."""
    has = _incidence(labels)
    known = np.array([bool(each) for each in labels])
    random = np.random.default_rng(seed)
    alone = ids.max(initial=0) + 1 + np.arange(len(ids))  # a snippet of an unlabelled video is in no pair
    judged = np.where(known.repeat(SECONDS), ids, alone)
    together = _sharing(has, *same_component_pairs(judged, pairs, random))
    videos = np.flatnonzero(known)
    first, second = random.choice(videos, (2, pairs)) if len(videos) else np.empty((2, 0), np.int64)
    apart = first != second
    by_chance = _sharing(has, first[apart] * SECONDS, second[apart] * SECONDS)
    shares, sizes = _components(ids, has, known)
    return Purity(
        labelled=int(known.sum()),
        unlabelled=int((~known).sum()),
        pairs=len(together),
        sharing=_mean(together),
        random=_mean(by_chance),
        components=len(shares),
        mean=_mean(shares),
        weighted=float(np.average(shares, weights=sizes)) if len(shares) else 0.0,
    )


def _incidence(labels: Sequence[frozenset[str]]) -> csr_array:
    """Which video has which label, as ones."""
    number = {label: place for place, label in enumerate(sorted(frozenset().union(*labels)))}
    columns = [number[label] for each in labels for label in sorted(each)]
    starts = np.concatenate([[0], np.cumsum([len(each) for each in labels])])
    return csr_array((np.ones(len(columns), np.int32), columns, starts), shape=(len(labels), max(len(number), 1)))


def _sharing(
    has: csr_array, first: Int[np.ndarray, " pair"], second: Int[np.ndarray, " pair"]
) -> Bool[np.ndarray, " pair"]:
    """Of each pair of snippets, whether their videos share a label."""
    common = has[first // SECONDS].multiply(has[second // SECONDS])
    return np.asarray(common.sum(axis=1)).ravel() > 0


def _components(
    ids: Int64[np.ndarray, " snippet"], has: csr_array, known: Bool[np.ndarray, " video"]
) -> tuple[np.ndarray, np.ndarray]:
    """Of each component with several labelled videos, the share that its commonest label has, and its snippets."""
    snippets = np.flatnonzero(known.repeat(SECONDS))
    held = csr_array(
        (np.ones(len(snippets), np.int32), (ids[snippets], snippets // SECONDS)),
        shape=(int(ids.max(initial=0)) + 1, len(known)),
    )
    held.sum_duplicates()
    sizes: Int[np.ndarray, " component"] = np.asarray(held.sum(axis=1)).ravel()
    held.data[:] = 1
    videos: Int[np.ndarray, " component"] = np.asarray(held.sum(axis=1)).ravel()
    several = videos > 1
    commonest = (held[several] @ has).max(axis=1).toarray().ravel()
    return commonest / videos[several], sizes[several]


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0
