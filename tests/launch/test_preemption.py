"""A request to stop is heard from a stage's start on, and answered at its first step."""

import os
import signal
from collections.abc import Callable

import pytest

from launch import stage
from launch.__main__ import main
from launch.job import Job
from launch.preemption import Requests, listening
from launch.settings import Settings


class Config(Settings):
    job: Job = Job()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_request_while_a_stage_is_loaded_is_known_at_its_steps(
    monkeypatch: pytest.MonkeyPatch, number: signal.Signals
) -> None:
    made = list[bool]()

    def steps(config: Settings) -> None:
        with listening() as requests:
            made.append(requests.made)

    def load(chosen: stage.Stage) -> tuple[type[Settings], Callable[[Settings], None]]:
        os.kill(os.getpid(), number)
        return Config, steps

    monkeypatch.setattr(stage.Stage, "load", load)
    assert main(["pretrain"]) == 0
    assert made == [True]


@pytest.mark.parametrize("asked", [True, False])
def test_one_that_was_asked_ignores_what_follows_and_one_that_was_not_gets_its_handlers_back(asked: bool) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with listening() as requests:
        assert isinstance(signal.getsignal(signal.SIGUSR1), Requests)
        if asked:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert requests.made is asked
    assert signal.getsignal(signal.SIGTERM) is (signal.SIG_IGN if asked else before)
