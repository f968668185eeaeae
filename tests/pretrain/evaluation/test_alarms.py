"""A run that learns nothing is stopped with the number that says so; one that learns is left alone."""

import pytest

from launch.refusal import Refusal
from pretrain.evaluation.alarms import AlarmSettings, sound

WELL = {"auc": 0.93, "effective_rank_audio": 40.0, "effective_rank_visual": 30.0, "balanced_hinge": 0.1}


@pytest.mark.parametrize("found", [WELL, {}, WELL | {"auc": 0.55}, WELL | {"effective_rank_audio": 6.4}])
def test_a_run_that_learns_and_one_of_which_nothing_is_known_go_on(found: dict[str, float]) -> None:
    sound(found, most=128, step=40, settings=AlarmSettings())


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (WELL | {"auc": 0.5}, r"at step 40 their AUC is 0\.500, below alarms\.auc 0\.55"),
        (WELL | {"effective_rank_visual": 6.3}, r"effective rank of visual is 6\.3 of 128, below"),
        (
            WELL | {"auc": 0.58, "balanced_hinge": 0.004},
            r"at step 40 the held-out hinges are 0\.0040 and the AUC is 0\.580 .*cosines are about equal",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_number_and_a_remedy(found: dict[str, float], sentence: str) -> None:
    with pytest.raises(Refusal, match=sentence) as refused:
        sound(found, most=128, step=40, settings=AlarmSettings())
    assert "--replace True" in str(refused.value)


def test_a_small_loss_with_well_kept_pairs_is_no_alarm() -> None:
    sound(WELL | {"balanced_hinge": 0.004}, most=128, step=40, settings=AlarmSettings())


def test_alarms_can_be_turned_off() -> None:
    off = AlarmSettings(auc=0, effective_rank=0, loss=0)
    sound({"auc": 0.3, "effective_rank_audio": 1.0, "effective_rank_visual": 1.0, "balanced_hinge": 0.0}, 128, 40, off)
