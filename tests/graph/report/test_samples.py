from collections.abc import Callable
from dataclasses import replace

import numpy as np

from graph.report.samples import samples


def test_the_nearest_is_the_highest_cosine_with_another_video_whatever_the_lists_hold(side_of_rows: Callable) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 5))
    side = side_of_rows(rows, floor=0.99, k=2)  # nearly nothing is listed
    every = np.arange(60)
    cosine = side.matrix.tile(every, every)
    cosine[every // 10 == every[:, None] // 10] = -1
    np.testing.assert_allclose(np.sort(samples(side, 0).nearest), np.sort(cosine.max(axis=1)), atol=1e-6)


def test_snippets_without_edges_are_in_no_sample(side_of_rows: Callable) -> None:
    rows = np.random.default_rng(0).normal(size=(60, 5))
    rows[::2] = rows[0]  # half of them are one and the same silence
    side = side_of_rows(rows)
    barred = replace(side, without=np.arange(60) % 2 == 0)
    found = samples(barred, 0)
    assert (found.other_video < 0.9999).all()
    assert (found.nearest < 0.9999).all()
    assert len(found.nearest) == 30
    assert len(found.next_second) == 0  # every second snippet is barred
    assert (samples(side, 0).nearest > 0.9999).any()


def test_pairs_are_of_two_videos_or_of_neighbouring_seconds(side_of_rows: Callable) -> None:
    rows = np.eye(6).repeat(10, axis=0)  # a video is like itself and unlike all others
    found = samples(side_of_rows(rows), 0)
    assert (np.abs(found.other_video) < 1e-6).all()
    assert (found.next_second > 0.999).all()
    assert len(found.next_second) == 54


def test_a_modality_without_any_edge_gives_empty_samples(side_of_rows: Callable) -> None:
    side = side_of_rows(np.random.default_rng(0).normal(size=(20, 5)))
    found = samples(replace(side, without=np.ones(20, bool)), 0)
    assert [len(values) for values in vars(found).values()] == [0, 0, 0]
