"""A parser whose weights are the running average of those of a parser in training: steadier, and a teacher to it."""

import copy

import torch
from torch import Tensor

from finetune.parser import Parser

WARM_UP = 10
"""Steps after which a new average weighs what it has as much as what comes."""


class Average:
    """average ← d·average + (1 − d)·parser after each step, with d = min(decay, n / (n + WARM_UP)) after n steps."""

    def __init__(self, parser: Parser, decay: float) -> None:
        self.parser, self.decay, self.steps = copy.deepcopy(parser).requires_grad_(False).eval(), decay, 0

    @torch.no_grad()
    def follow(self, parser: Parser) -> None:
        """Takes the parser's weights into the average."""
        decay = min(self.decay, self.steps / (self.steps + WARM_UP))
        torch._foreach_lerp_(list(self.parser.parameters()), list(parser.parameters()), 1 - decay)
        self.steps += 1

    def state(self) -> dict[str, Tensor]:
        """The average's weights, and the number of its steps."""
        return self.parser.state_dict() | {"steps": torch.tensor(self.steps)}

    def take(self, state: dict[str, Tensor]) -> None:
        """Goes to what `state` gave."""
        weights = dict(state)
        self.steps = int(weights.pop("steps"))
        self.parser.load_state_dict(weights)
