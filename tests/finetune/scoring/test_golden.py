"""Golden values on the real tables: what every right implementation of the metrics gives."""

from pathlib import Path

import numpy as np
import pytest

from finetune.scoring.metrics import EXCLUSIVE, KINDS, LEVELS, exclusive_scores, scores
from shards.labels import Tables

NOTHING = {"segment": (0.50, 10.08, 14.50, 8.36, 0.00), "event": (0.50, 10.08, 14.50, 8.36, 0.00)}
WEAK_EVERYWHERE = {
    "test": {"segment": (76.12, 60.35, 52.61, 63.03, 71.73), "event": (63.03, 55.75, 44.69, 54.49, 61.60)},
    "validation": {"segment": (77.07, 58.65, 52.07, 62.60, 71.53)},
}
NOTHING_EXCLUSIVE = {"test": (38.08, 65.58), "validation": (36.67, 67.33)}


def rounded(found: dict[str, float]) -> tuple[float, ...]:
    return tuple(round(found[kind], 2) for kind in KINDS)


def test_nothing_predicted_scores_its_golden_values_on_the_real_test_tables(llp: Path) -> None:
    tables = Tables.load(llp)
    audio, visual = tables.truth(tables.keys("test"))
    found = scores(np.zeros_like(audio), np.zeros_like(visual), audio, visual)
    assert {level: rounded(found[level]) for level in LEVELS} == NOTHING


@pytest.mark.parametrize("split", WEAK_EVERYWHERE)
def test_true_weak_labels_everywhere_score_their_golden_values(llp: Path, split: str) -> None:
    tables = Tables.load(llp)
    keys = tables.keys(split)
    everywhere = np.repeat(tables.weak_matrix(keys)[:, :, None], 10, axis=2)
    found = scores(everywhere, everywhere, *tables.truth(keys))
    for level, golden in WEAK_EVERYWHERE[split].items():
        assert rounded(found[level]) == golden


def test_the_truth_itself_scores_one_hundred_on_the_real_tables(llp: Path) -> None:
    tables = Tables.load(llp)
    truth = tables.truth(tables.keys("test"))
    for found in (scores(*truth, *truth), exclusive_scores(*truth, *truth)):
        assert {value for kinds in found.values() for value in kinds.values()} == {100.0}


@pytest.mark.parametrize("split", NOTHING_EXCLUSIVE)
def test_what_predicts_nothing_as_only_heard_or_seen_scores_the_share_of_videos_without_it(
    llp: Path, split: str
) -> None:
    tables = Tables.load(llp)
    keys = tables.keys(split)
    audio, visual = tables.truth(keys)
    everywhere = np.repeat(tables.weak_matrix(keys)[:, :, None], 10, axis=2)
    shares = [100 * sum(not one.any() for one in only) / len(keys) for only in (audio & ~visual, visual & ~audio)]
    assert tuple(round(share, 2) for share in shares) == NOTHING_EXCLUSIVE[split]
    for parse in (np.zeros_like(audio), everywhere):
        found = exclusive_scores(parse, parse, audio, visual)
        for level in LEVELS:
            assert [found[level][kind] for kind in EXCLUSIVE] == pytest.approx(shares)
