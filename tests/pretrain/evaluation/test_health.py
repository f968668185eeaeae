"""Collapse shows in the effective rank, and chance in retrieval."""

import math

import pytest
import torch
from torch.nn.functional import normalize

from pretrain.evaluation.health import effective_rank, health, retrieval


def test_the_effective_rank_counts_orthogonal_directions() -> None:
    assert effective_rank(torch.eye(7)) == pytest.approx(7)
    assert effective_rank(torch.ones(9, 7)) == pytest.approx(1)
    assert effective_rank(torch.zeros(9, 7)) == 0


def test_the_effective_rank_is_the_exponential_of_the_entropy_of_singular_values() -> None:
    shares = (0.75, 0.25)
    expected = math.exp(-sum(share * math.log(share) for share in shares))
    assert effective_rank(torch.diag(torch.tensor([3.0, 1.0]))) == pytest.approx(expected)


def test_retrieval_counts_the_best_candidate_of_queries_that_have_an_answer() -> None:
    scores = torch.tensor([[0.9, 0.8, 0.1], [0.2, 0.3, 0.4], [0.5, 0.5, 0.6]])
    candidate = ~torch.eye(3, dtype=torch.bool)
    relevant = torch.tensor([[False, True, False], [True, False, False], [False, False, False]])
    assert retrieval(scores, relevant, candidate) == pytest.approx(1 / 2)
    assert retrieval(scores, torch.zeros_like(relevant), candidate) == 0


def test_embeddings_that_are_their_component_retrieve_it_across_modalities() -> None:
    ids = torch.randint(5, (12, 10, 1), generator=torch.Generator().manual_seed(0))
    perfect = torch.eye(5)[ids[..., 0]]
    found = health(perfect, perfect, ids)
    assert found["retrieval_audio_to_visual"] == found["retrieval_visual_to_audio"] == 1
    assert found["effective_rank_audio"] == pytest.approx(5, rel=0.05)
    assert found["retrieval_chance"] == pytest.approx(1 / 5, abs=0.05)


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
    found = health(audio, visual, ids)
    assert found["retrieval_audio_to_visual"] == pytest.approx(sum(answers) / len(answers))
    assert found["retrieval_chance"] == pytest.approx(sum(chance) / len(chance))


def test_collapsed_embeddings_have_rank_one_and_do_not_beat_chance() -> None:
    ids = torch.arange(10).repeat(8, 1)[..., None]
    collapsed = normalize(torch.ones(8, 10, 4), dim=-1)
    found = health(collapsed, collapsed, ids)
    assert found["effective_rank_audio"] == pytest.approx(1)
    assert found["retrieval_audio_to_visual"] <= found["retrieval_chance"] + 1e-9


def test_nothing_is_said_about_fewer_than_two_videos() -> None:
    assert health(torch.ones(1, 10, 4), torch.ones(1, 10, 4), torch.zeros(1, 10, 1, dtype=torch.int64)) == {}
