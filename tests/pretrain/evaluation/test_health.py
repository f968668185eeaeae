"""Collapse shows in the effective rank, and chance in retrieval."""

import itertools
import math
from typing import get_args

import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor
from torch.nn.functional import normalize

from pretrain.evaluation.health import Embedded, effective_rank, health, retrieval
from pretrain.loss.contrast import LossSettings
from pretrain.loss.pairs import Mode


def test_the_effective_rank_counts_orthogonal_directions() -> None:
    assert effective_rank(torch.eye(7)) == pytest.approx(7)
    assert effective_rank(torch.ones(9, 7)) == pytest.approx(1)
    assert effective_rank(torch.zeros(9, 7)) == 0


def test_the_effective_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    shares = (0.75, 0.25)
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)


def embedded(audio: Tensor, visual: Tensor) -> Embedded:
    """Embeddings that are the same whether or not the other modality was there."""
    return Embedded(audio, visual, audio, visual)


def test_retrieval_counts_the_queries_that_have_an_answer() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4], [0.5, 0.5, 0.6]])
    candidate = ~torch.eye(3, dtype=torch.bool)
    relevant = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    found = retrieval("x", scores, relevant, candidate)
    assert found == pytest.approx({"x_r1": 1 / 2, "x_r5": 1, "x_map": 3 / 4, "x_chance": 1 / 2})
    assert all(math.isnan(value) for value in retrieval("x", scores, torch.zeros_like(relevant), candidate).values())


def test_embeddings_that_are_their_component_retrieve_it_across_modalities() -> None:
    ids = torch.randint(5, (12, 10, 1), generator=torch.Generator().manual_seed(0))
    perfect = torch.eye(5)[ids[..., 0]]
    found = health(embedded(perfect, perfect), ids, LossSettings())
    for name in ("audio_to_visual", "visual_to_audio"):
        assert [found[f"{name}_{each}"] for each in ("r1", "r5", "map")] == [1, 1, 1]
        assert found[f"{name}_chance"] == pytest.approx(1 / 5, abs=0.05)
    assert found["effective_rank_audio"] == pytest.approx(5, rel=0.05)
    assert (found["auc"], found["positive_cosine"], found["negative_cosine"]) == (1, 1, 0)


def test_retrieval_is_by_what_each_modality_knows_alone() -> None:
    ids = torch.randint(5, (12, 10, 1), generator=torch.Generator().manual_seed(0))
    perfect, ignorant = torch.eye(5)[ids[..., 0]], torch.ones(12, 10, 5)
    found = health(Embedded(perfect, perfect, ignorant, perfect), ids, LossSettings())
    assert found["auc"] == 1
    assert found["audio_to_visual_map"] == pytest.approx(found["audio_to_visual_chance"])


@pytest.mark.parametrize("mode", get_args(Mode))
def test_seconds_that_do_not_exist_have_no_part_in_any_number(mode: Mode) -> None:
    """Whatever stands there, and as where no video has the last three seconds they are not there at all."""
    ids = torch.randint(5, (12, 10, 1), generator=torch.Generator().manual_seed(0))
    rows = normalize(torch.randn(4, 12, 10, 6, generator=torch.Generator().manual_seed(1)), dim=-1)
    lengths = torch.randint(1, 8, (12, 1), generator=torch.Generator().manual_seed(2))
    settings, exists = LossSettings(mode=mode), torch.arange(10) < lengths
    present = of_both(exists)
    found = health(Embedded(*rows, present), ids, settings)
    assert found != health(Embedded(*rows), ids, settings)
    other = rows.where(exists[..., None], rows[:, :1, :1])
    assert health(Embedded(*other, present), ids.where(exists[..., None], 3), settings) == found
    assert health(Embedded(*rows[:, :, :7], present[..., :7]), ids[:, :7], settings) == found


def of_both(exists: Tensor) -> Tensor:
    """Snippets that have both modalities wherever there is a second."""
    return exists[:, None].expand(-1, 2, -1)


def test_a_modality_that_a_snippet_lacks_has_no_part_in_any_number() -> None:
    """By hand, from lists of the rows that there are."""
    ids = torch.randint(3, (6, 10, 1), generator=torch.Generator().manual_seed(0))
    rows = normalize(torch.randn(4, 6, 10, 8, generator=torch.Generator().manual_seed(1)), dim=-1)
    present = torch.rand(6, 2, 10, generator=torch.Generator().manual_seed(2)) < 0.7
    present[0, 0], present[1, 1], present[2] = False, False, False
    spoilt = rows.clone()
    for side in range(4):
        spoilt[side][~present[:, side % 2]] = math.nan
    found = health(Embedded(*spoilt, present), ids, LossSettings(mode="cross"))
    lists = [[(v, s) for v in range(6) for s in range(10) if present[v, m, s]] for m in (0, 1)]
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for heard, seen in itertools.product(*lists):
        kinds[bool(ids[heard] == ids[seen])].append(float(rows[0][heard] @ rows[1][seen]))
    assert found["positive_cosine"] == pytest.approx(sum(kinds[True]) / len(kinds[True]), abs=1e-5)
    assert found["negative_cosine"] == pytest.approx(sum(kinds[False]) / len(kinds[False]), abs=1e-5)
    for name, asking, asked in (("audio_to_visual", 0, 1), ("visual_to_audio", 1, 0)):
        best, chance = [], []
        for query in lists[asking]:
            others = [other for other in lists[asked] if other[0] != query[0]]
            right = [bool(ids[other] == ids[query]) for other in others]
            scores = [float(rows[2 + asking][query] @ rows[2 + asked][other]) for other in others]
            if any(right):
                best.append(right[max(range(len(scores)), key=scores.__getitem__)])
                chance.append(sum(right) / len(right))
        assert found[f"{name}_r1"] == pytest.approx(sum(best) / len(best))
        assert found[f"{name}_chance"] == pytest.approx(sum(chance) / len(chance))
    assert found["effective_rank_audio"] == effective_rank(rows[0][present[:, 0]])
    assert found["effective_rank_visual"] == effective_rank(rows[1][present[:, 1]])


def test_a_mean_of_a_modality_is_over_the_seconds_that_have_it_and_zero_without_any() -> None:
    audio, visual = torch.randn(2, 3, 10, 4, generator=torch.Generator().manual_seed(0))
    present = torch.ones(3, 2, 10, dtype=torch.bool)
    present[0, 0], present[1, 1, 2:] = False, False
    found = Embedded(audio, visual, audio, visual, present).means()
    expected = torch.stack([torch.cat((audio[v].mean(0), visual[v].mean(0))) for v in range(3)])
    expected[0, :4], expected[1, 4:] = 0, visual[1, :2].mean(0)
    torch.testing.assert_close(found, expected)


def test_a_mean_is_over_the_seconds_that_exist() -> None:
    audio, visual = torch.randn(2, 3, 10, 4, generator=torch.Generator().manual_seed(0))
    lengths = (10, 1, 6)
    present = of_both(torch.arange(10) < torch.tensor(lengths)[:, None])
    expected = [
        torch.cat((a[:length].mean(0), v[:length].mean(0))) for a, v, length in zip(audio, visual, lengths, strict=True)
    ]
    torch.testing.assert_close(Embedded(audio, visual, audio, visual, present).means(), torch.stack(expected))
    everywhere = Embedded(audio, visual, audio, visual).means()
    assert torch.equal(everywhere, torch.cat((audio, visual), -1).mean(1))


def test_with_two_ways_a_snippet_that_shares_either_component_is_an_answer() -> None:
    ids = torch.randint(9, (12, 10, 2), generator=torch.Generator().manual_seed(0))
    draw = torch.randn(2, 12, 10, 4, generator=torch.Generator().manual_seed(1))
    audio, visual = normalize(draw, dim=-1)
    scores = (audio.flatten(0, 1) @ visual.flatten(0, 1).T).tolist()
    of_video = [each for each in range(12) for _ in range(10)]
    answers, chance = [], []
    for query, (first, second) in enumerate(ids.flatten(0, 1).tolist()):
        others = [place for place in range(120) if of_video[place] != of_video[query]]
        right = {
            place
            for place in others
            if first == ids[place // 10, place % 10, 0] or second == ids[place // 10, place % 10, 1]
        }
        if right:
            answers.append(max(others, key=lambda place: scores[query][place]) in right)
            chance.append(len(right) / len(others))
    found = health(embedded(audio, visual), ids, LossSettings())
    assert found["audio_to_visual_r1"] == pytest.approx(sum(answers) / len(answers))
    assert found["audio_to_visual_chance"] == pytest.approx(sum(chance) / len(chance))


@pytest.mark.parametrize("mode", get_args(Mode))
def test_the_area_under_the_curve_is_that_of_the_pairs_the_mode_compares(mode: Mode) -> None:
    ids = torch.randint(4, (3, 10, 1), generator=torch.Generator().manual_seed(2))
    draw = torch.randn(2, 3, 10, 4, generator=torch.Generator().manual_seed(3))
    audio, visual = normalize(draw, dim=-1)
    rows, component = torch.cat((audio.flatten(0, 1), visual.flatten(0, 1))), ids.flatten().repeat(2).tolist()
    kinds: dict[bool, list[float]] = {True: [], False: []}
    for i, j in itertools.permutations(range(60), 2):
        within = (i < 30) == (j < 30)
        if mode == "multi" or within == (mode == "uni"):
            kinds[component[i] == component[j]].append(float(rows[i] @ rows[j]))
    found = health(embedded(audio, visual), ids, LossSettings(mode=mode))
    truth = [True] * len(kinds[True]) + [False] * len(kinds[False])
    assert found["auc"] == pytest.approx(roc_auc_score(truth, kinds[True] + kinds[False]), abs=1e-4)
    assert found["positive_cosine"] == pytest.approx(sum(kinds[True]) / len(kinds[True]), abs=1e-5)
    assert found["negative_cosine"] == pytest.approx(sum(kinds[False]) / len(kinds[False]), abs=1e-5)
    under, over = [max(0.9 - s, 0) for s in kinds[True]], [max(s - 0.3, 0) for s in kinds[False]]
    assert found["active_positives"] == pytest.approx(sum(h > 0 for h in under) / len(under))
    assert found["active_negatives"] == pytest.approx(sum(h > 0 for h in over) / len(over))
    assert found["balanced_hinge"] == pytest.approx(sum(under) / len(under) + sum(over) / len(over), abs=1e-5)


def test_collapsed_embeddings_have_rank_one_and_are_at_chance() -> None:
    ids = torch.arange(10).repeat(8, 1)[..., None]
    collapsed = normalize(torch.ones(8, 10, 4), dim=-1)
    found = health(embedded(collapsed, collapsed), ids, LossSettings())
    assert found["effective_rank_audio"] == pytest.approx(1)
    assert found["auc"] == 0.5
    assert found["audio_to_visual_r1"] == pytest.approx(found["audio_to_visual_chance"])


def test_what_has_no_pairs_is_left_out() -> None:
    ones = torch.ones(2, 10, 4)
    found = health(embedded(ones, ones), torch.arange(20).view(2, 10, 1), LossSettings(mode="uni"))
    assert set(found) == {"effective_rank_audio", "effective_rank_visual", "negative_cosine", "active_negatives"}


@pytest.mark.parametrize("videos", [0, 1])
def test_nothing_is_said_about_fewer_than_two_videos(videos: int) -> None:
    ones = torch.ones(videos, 10, 4)
    assert health(embedded(ones, ones), torch.zeros(videos, 10, 1, dtype=torch.int64), LossSettings()) == {}
