"""Groups: for every video one component that it shares with another video, so that batches can hold both.

`groups.npy` is a plain int64 array, one id a video in stored order; `shards.groups` reads it, and nothing of the graph.
"""

import numpy as np
from jaxtyping import Int64

GROUPS = "groups.npy"


def group_of_videos(ids: Int64[np.ndarray, "video second way"]) -> Int64[np.ndarray, " video"]:
    """The most frequent component of each video among those that another video has too; -1 where there is none.

    A component of the second way is never one of the first, so it is numbered after all of those. Of components that
    are equally frequent in a video the one with the smallest number is taken.
    """
    counts = ids.max(axis=(0, 1), initial=-1) + 1
    numbered = ids + (counts.cumsum() - counts)
    videos, components = len(ids), max(int(counts.sum()), 1)
    pairs, frequency = np.unique(np.arange(videos)[:, None, None] * components + numbered, return_counts=True)
    video, component = np.divmod(pairs, components)
    shared = np.bincount(component, minlength=components)[component] > 1
    video, component, frequency = video[shared], component[shared], frequency[shared]
    best_last = np.lexsort((-component, frequency, video))
    groups = np.full(videos, -1, dtype=np.int64)
    groups[video[best_last]] = component[best_last]  # of a video's entries the last one stays
    return groups
