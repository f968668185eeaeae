"""What labels say of rows: probes and retrieval are what slow loops over snippets say they are."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torch import Tensor
from torch.nn.functional import normalize

from launch.refusal import Refusal
from pretrain.evaluation import labelled
from pretrain.evaluation.health import Embedded
from pretrain.evaluation.labelled import Truth, probe_seconds, probe_videos, retrieve
from pretrain.evaluation.linear import Labelled, linear_probe
from shards.labels import Span, Tables

VIDEOS, SECONDS, CATEGORIES, WIDTH = 9, 10, 4, 6
KEYS = ("a_0_10", "b_0_10", "c_0_10")
TABLES = Tables(
    {"train": {"a_0_10": (3,)}, "validation": {"b_0_10": (0, 2)}, "test": {"c_0_10": (1,)}},
    {"b_0_10": (Span(0, 0, 4), Span(2, 3, 10))},
    {"b_0_10": (Span(2, 5, 6),), "c_0_10": (Span(1, 0, 10),)},
)


def truth(seed: int = 0, videos: int = VIDEOS) -> Truth:
    """Labels in which many seconds have none and some have several; the last category is heard and never seen."""
    draw = torch.Generator().manual_seed(seed)
    audible, visible = (torch.rand(2, videos, SECONDS, CATEGORIES, generator=draw) < 0.15).unbind()
    visible[..., -1] = False
    return Truth(audible.any(1) | visible.any(1), audible, visible)


def embedded(seed: int = 0, videos: int = VIDEOS) -> Embedded:
    """Four different arrays of unit rows."""
    draw = torch.randn(4, videos, SECONDS, WIDTH, generator=torch.Generator().manual_seed(seed))
    return Embedded(*normalize(draw, dim=-1))


def test_the_truth_of_a_video_is_that_of_the_tables_by_second_and_category() -> None:
    found = Truth.of(TABLES, KEYS)
    assert [row.nonzero().flatten().tolist() for row in found.weak] == [[3], [0, 2], [1]]
    assert found.audible.shape == found.visible.shape == (3, 10, 25)
    heard = {(second, category) for second, category in found.audible[1].nonzero().tolist()}
    assert heard == {(second, 0) for second in range(4)} | {(second, 2) for second in range(3, 10)}
    assert found.visible[1].nonzero().tolist() == [[5, 2]]
    assert not found.audible[0].any()
    assert not found.audible[2].any()


def test_a_video_that_no_table_knows_is_refused() -> None:
    with pytest.raises(Refusal, match="'unknown_0_10' has none"):
        Truth.of(TABLES, (*KEYS, "unknown_0_10"))


def test_the_truth_of_some_videos_is_theirs() -> None:
    whole = truth()
    odd = whole.only(slice(1, None, 2))
    for name in ("weak", "audible", "visible"):
        assert torch.equal(getattr(odd, name), getattr(whole, name)[[1, 3, 5, 7]])


def slowly(queries: Tensor, wanted: Tensor, keys: Tensor, held: Tensor) -> dict[str, float]:
    """Retrieval by loops: for each second with a label, all seconds of other videos, the best first."""
    precisions, first, chances = [], [], []
    for video in range(len(queries)):
        for second in range(SECONDS):
            labels = set(wanted[video, second].nonzero().flatten().tolist())
            others = [(v, s) for v in range(len(keys)) if v != video for s in range(SECONDS)]
            right = [bool(labels & set(held[v, s].nonzero().flatten().tolist())) for v, s in others]
            if not any(right):
                continue
            scores = [float(queries[video, second] @ keys[v, s]) for v, s in others]
            precisions.append(average_precision_score(right, scores))
            first.append(right[int(np.argmax(scores))])
            chances.append(sum(right) / len(right))
    return {"map": float(np.mean(precisions)), "r1": float(np.mean(first)), "chance": float(np.mean(chances))}


@pytest.mark.parametrize("queries", [1, 7, 256])
def test_retrieval_is_what_loops_over_labelled_seconds_of_other_videos_find(
    queries: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(labelled, "QUERIES", queries)
    rows, labels = embedded(), truth()
    found = retrieve(rows, labels)
    ways = {
        "audio_to_visual": (rows.audio_alone, labels.audible, rows.visual_alone, labels.visible),
        "visual_to_audio": (rows.visual_alone, labels.visible, rows.audio_alone, labels.audible),
    }
    for name, way in ways.items():
        expected = slowly(*way)
        assert {key: found[f"{name}_{key}"] for key in expected} == pytest.approx(expected, abs=1e-6)


def test_retrieval_looks_at_nothing_that_was_encoded_with_the_other_modality() -> None:
    rows, labels = embedded(), truth()
    other = Embedded(rows.visual, rows.audio, rows.audio_alone, rows.visual_alone)
    found, swapped = retrieve(rows, labels), retrieve(other, labels)
    assert {k: v for k, v in found.items() if "_to_" in k} == {k: v for k, v in swapped.items() if "_to_" in k}
    assert found["effective_rank_audio"] == swapped["effective_rank_visual"]


def test_retrieval_that_no_second_can_answer_is_left_out() -> None:
    labels = truth()
    nothing = Truth(labels.weak, labels.audible, torch.zeros_like(labels.visible))
    assert set(retrieve(embedded(), nothing)) == {"effective_rank_audio", "effective_rank_visual"}


def test_the_probe_of_seconds_is_that_of_each_modality_against_its_own_labels() -> None:
    known, asked, given, scored = embedded(1, 30), embedded(2), truth(1, 30), truth(2)

    def reached(name: str, labels: str) -> float:
        sides = [(getattr(rows, name), getattr(of, labels)) for rows, of in ((known, given), (asked, scored))]
        flat = [
            Labelled(r.reshape(-1, WIDTH), t.reshape(-1, CATEGORIES), torch.arange(len(r) * SECONDS) // SECONDS)
            for r, t in sides
        ]
        return linear_probe(*flat).mean_average_precision

    audio, visual = reached("audio", "audible"), reached("visual", "visible")
    expected = {"audio_map": audio, "visual_map": visual, "second_map": (audio + visual) / 2}
    assert probe_seconds(known, given, asked, scored) == expected
    assert len({audio, visual}) == 2


def test_rows_that_are_their_labels_are_told_perfectly_and_others_by_chance() -> None:
    known, asked = truth(1, 60), truth(2, 60)
    rows = [Embedded(*[each.float() for each in (t.audible, t.visible, t.visible, t.audible)]) for t in (known, asked)]
    assert probe_seconds(rows[0], known, rows[1], asked) == {"audio_map": 1, "visual_map": 1, "second_map": 1}
    means = [t.weak.float() for t in (known, asked)]
    assert probe_videos(means[0], known, means[1], asked) == {"video_map": 1}
    crossed = [Embedded(each.visual, each.audio, each.audio, each.visual) for each in rows]
    assert probe_seconds(crossed[0], known, crossed[1], asked)["second_map"] < 0.3


def test_labels_that_one_side_lacks_altogether_give_no_number() -> None:
    known, asked = truth(1, 30), truth(2)
    silent = Truth(known.weak, torch.zeros_like(known.audible), known.visible)
    found = probe_seconds(embedded(1, 30), silent, embedded(2), asked)
    assert math.isnan(found["audio_map"])
    assert not math.isnan(found["visual_map"])


def test_seconds_that_do_not_exist_are_neither_asked_nor_found_nor_learnt_from() -> None:
    """As where no video has the last three seconds and they are not there at all, whatever stands there."""
    rows, labels = embedded(), truth()
    lengths = torch.tensor([7, 3, 7, 1, 5, 7, 7, 2, 7])[:, None]
    present = (torch.arange(SECONDS) < lengths)[:, None].expand(-1, 2, -1)
    sides = [replace(rows, present=present), Embedded(*(each[:, :7] for each in sides_of(rows)), present[..., :7])]
    cut = Truth(labels.weak, labels.audible[:, :7], labels.visible[:, :7])
    found = retrieve(sides[0], labels)
    assert found == pytest.approx(retrieve(sides[1], cut))
    assert found != pytest.approx(retrieve(rows, labels), rel=1e-3)
    known, known_truth = embedded(5), truth(5)
    probed = probe_seconds(known, known_truth, sides[0], labels), probe_seconds(known, known_truth, sides[1], cut)
    assert probed[0] == pytest.approx(probed[1])
    learnt = probe_seconds(sides[0], labels, known, known_truth), probe_seconds(sides[1], cut, known, known_truth)
    assert learnt[0] == pytest.approx(learnt[1])


def test_a_modality_that_a_second_lacks_is_neither_asked_nor_found_nor_learnt_from() -> None:
    """By hand, from lists of the rows that there are, whatever stands elsewhere."""
    rows, labels = embedded(), truth()
    present = torch.rand(VIDEOS, 2, SECONDS, generator=torch.Generator().manual_seed(3)) < 0.6
    spoilt = [side.clone() for side in sides_of(rows)]
    for place, side in enumerate(spoilt):
        side[~present[:, place % 2]] = math.nan
    found = retrieve(Embedded(*spoilt, present), labels)
    heard, seen = (torch.nonzero(present[:, modality]).tolist() for modality in (0, 1))
    best = []
    for video, second in heard:
        others = [(v, s) for v, s in seen if v != video]
        right = [bool((labels.audible[video, second] & labels.visible[v, s]).any()) for v, s in others]
        if any(right):
            scores = [float(rows.audio_alone[video, second] @ rows.visual_alone[v, s]) for v, s in others]
            best.append(right[int(np.argmax(scores))])
    assert found["audio_to_visual_r1"] == pytest.approx(sum(best) / len(best))
    known, given = embedded(1, 30), truth(1, 30)
    probed = probe_seconds(known, given, Embedded(*spoilt, present), labels)
    sides = [
        Labelled(known.audio.flatten(0, 1), given.audible.flatten(0, 1), torch.arange(300) // SECONDS),
        Labelled(rows.audio[present[:, 0]], labels.audible[present[:, 0]], torch.tensor([v for v, _ in heard])),
    ]
    assert probed["audio_map"] == linear_probe(*sides).mean_average_precision


def sides_of(rows: Embedded) -> tuple[Tensor, ...]:
    return rows.audio, rows.visual, rows.audio_alone, rows.visual_alone
