"""The planted world is the same everywhere, its features look like embeddings, and like goes with like."""

import hashlib

import numpy as np
import pytest

from shards.labels import CATEGORIES
from shards.planted.dice import Dice
from shards.planted.mixtures import draw_clutter, draw_event, draw_scene, draw_sources
from shards.planted.world import (
    CLASSES,
    FAMILIES,
    GENERATOR_VERSION,
    OWN,
    PROTOTYPES,
    STREAMS,
    Source,
    class_row,
    families,
    mean_rows,
    patterns,
    relatives,
    render,
)

DOG, CAT = CATEGORIES.index("Dog"), CATEGORIES.index("Cat")
ALL = np.ones(10, dtype=np.float32)
GOLDEN = "b47a0e55e98d46213fba7e9af3684835e9534f229c81d155fa523ca8d9bdc0ab"


def alone(row: int, *names: str, stream: str = "resnet152", weight: float = 1.0) -> np.ndarray:
    """A feature in which one pattern is on in every second, over a faint background of the video's own."""
    sources = [Source((OWN,) * 10, 0.2 * ALL), Source((row,) * 10, np.float32(weight) * ALL)]
    return render(sources, Dice(*names), stream, pooled=True)


def cosine(left: np.ndarray, right: np.ndarray) -> float:
    return float((left @ right) / np.linalg.norm(left) / np.linalg.norm(right))


def video(*names: str) -> dict[str, np.ndarray]:
    parses = {modality: np.zeros((25, 10), dtype=bool) for modality in ("audio", "visual")}
    parses["audio"][DOG, 2:7] = parses["visual"][DOG, 4:] = parses["visual"][CAT, 0] = True
    sources = draw_sources(Dice("mixture", *names), parses, scene=3)
    return {name: render(sources[s.modality], Dice(name, *names), name) for name, s in STREAMS.items()}


def test_the_bytes_of_the_world_are_frozen() -> None:
    """A change of any draw or number changes these: raise GENERATOR_VERSION with them, and calibrate again."""
    digest = hashlib.sha256()
    for key in ("one", "two"):
        for array in video(key).values():
            digest.update(np.ascontiguousarray(array, dtype="<f4").tobytes())
    assert (GENERATOR_VERSION, digest.hexdigest()) == (1, GOLDEN)


def test_features_have_llps_shapes_and_float16_values_none_negative() -> None:
    shapes = {"vggish": (10, 128), "resnet152": (80, 2048), "r2plus1d_18": (10, 512)}
    for name, array in video("shape").items():
        assert array.shape == shapes[name]
        assert array.dtype == np.float32
        assert np.array_equal(array, array.astype(np.float16).astype(np.float32))
        assert array.min() == 0
        assert 0.3 < np.mean(array == 0) < 0.7


def test_features_are_heavy_tailed() -> None:
    values = video("tail")["resnet152"]
    assert values.max() > 8 * values.mean()


def test_pooled_rows_are_the_means_of_the_eight_rows_of_a_second() -> None:
    source = [Source((5,) * 10, ALL)]
    rows, pooled = (render(source, Dice("pool"), "resnet152", pooled=p) for p in (False, True))
    expected = rows.reshape(10, 8, 2048).mean(axis=1).astype(np.float16)
    assert np.array_equal(pooled, expected.astype(np.float32))
    assert np.array_equal(mean_rows(np.array([[1.0], [3.0]], np.float32), 2), [[2.0]])


@pytest.mark.parametrize("stream", list(STREAMS))
def test_the_same_prototype_looks_alike_in_two_videos_and_another_does_not(stream: str) -> None:
    one, two = (alone(class_row(DOG, 0), name, stream=stream)[0] for name in ("one", "two"))
    same_class, same_family, stranger = (
        alone(class_row(category, prototype), "three", stream=stream)[0]
        for category, prototype in ((DOG, 1), (CAT, 0), (CATEGORIES.index("Cello"), 0))
    )
    assert cosine(one, two) > 0.9
    assert cosine(one, two) > cosine(one, same_class) + 0.1
    assert cosine(one, same_class) > max(cosine(one, same_family), cosine(one, stranger))
    assert cosine(one, stranger) < 0.6


def test_neighbouring_seconds_of_an_event_are_similar() -> None:
    array = alone(class_row(DOG, 2), "neighbours", stream="vggish")
    assert min(cosine(array[second], array[second + 1]) for second in range(9)) > 0.9


def test_a_loud_event_drowns_the_background_and_a_faint_one_drowns_in_it() -> None:
    background = alone(class_row(DOG, 0), "video", weight=0.0)[0]
    faint, loud = (alone(class_row(DOG, 0), "video", weight=weight)[0] for weight in (0.02, 2.0))
    assert cosine(background, faint) > 0.9
    assert cosine(background, loud) < 0.6


def test_every_class_has_four_relatives_and_the_families_name_every_category_once() -> None:
    assert sorted(name for family in FAMILIES for name in family) == sorted(CATEGORIES)
    assert sorted(category for family in families() for category in family) == list(range(CLASSES))
    assert {len(relatives(category)) for category in range(CLASSES)} == {4}
    assert CAT in relatives(DOG)


def test_patterns_cannot_be_written_over() -> None:
    with pytest.raises(ValueError, match="read-only"):
        patterns("vggish")[0] = 0


def test_an_event_is_silent_outside_its_seconds() -> None:
    on = np.zeros(10, dtype=bool)
    on[3:5] = True
    for source in draw_event(Dice("event"), DOG, 1, on):
        assert np.flatnonzero(source.weights).tolist() in ([3, 4], [])
        assert {row // PROTOTYPES for row in source.rows} <= {DOG, *relatives(DOG)}


def test_clutter_comes_in_about_the_given_share_of_the_seconds() -> None:
    seconds = np.concatenate([draw_clutter(Dice("clutter", n), 0.3).weights for n in range(300)])
    assert abs(np.mean(seconds > 0) - 0.3) < 0.04


def test_scenes_recur_in_the_given_share_of_the_videos() -> None:
    scenes = [draw_scene(Dice("scene", n), 0.6) for n in range(2000)]
    placed = [scene for scene in scenes if scene is not None]
    assert abs(len(placed) / 2000 - 0.6) < 0.04
    assert np.bincount(placed).max() > 10


def test_a_video_without_events_is_its_background() -> None:
    nothing = {modality: np.zeros((25, 10), dtype=bool) for modality in ("audio", "visual")}
    sources = draw_sources(Dice("empty"), nothing, scene=None)
    assert [len(each) for each in sources.values()] == [2, 2]
    assert np.isfinite(render(sources["audio"], Dice("empty"), "vggish")).all()
