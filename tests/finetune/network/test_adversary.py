"""The reversal turns the gradient round, and one descent trains the discriminator while the features ascend."""

import pytest
import torch
import torch.nn.functional as F

from finetune.network.adversary import Discriminator, alpha_at, reverse_gradient


@pytest.mark.parametrize("alpha", [0.0, 0.3, 1.0])
def test_the_gradient_is_minus_alpha_times_the_plain_one(alpha: float) -> None:
    torch.manual_seed(0)
    features = torch.randn(6, 4, requires_grad=True)
    weights = torch.randn(6, 4)
    plain = torch.autograd.grad((features.sin() * weights).sum(), features)[0]
    turned = reverse_gradient(features, alpha)
    assert torch.equal(turned, features)
    reversed_ = torch.autograd.grad((turned.sin() * weights).sum(), features)[0]
    torch.testing.assert_close(reversed_, -alpha * plain)


def test_alpha_rises_from_zero_to_one() -> None:
    values = [alpha_at(progress / 10) for progress in range(11)]
    assert values[0] == 0
    assert values == sorted(values)
    assert values[-1] == pytest.approx(1, abs=1e-4)
    assert alpha_at(0.1) == pytest.approx(2 / (1 + 2.718281828459045**-1) - 1)


def test_the_loss_is_the_cross_entropy_of_audio_against_visual() -> None:
    torch.manual_seed(0)
    discriminator, joint = Discriminator(8), torch.randn(2, 3, 10, 8)
    found = discriminator.loss(joint, 1.0)
    rows = torch.cat([joint[0].reshape(30, 8), joint[1].reshape(30, 8)]).relu()
    truth = torch.cat([torch.ones(30), torch.zeros(30)])
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(discriminator(rows), truth))


def test_a_step_of_descent_trains_the_discriminator_and_confuses_the_features() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator(8)
    joint = (torch.randn(2, 8, 10, 8) + torch.tensor([0.5, -0.5]).reshape(2, 1, 1, 1)).requires_grad_()
    before = discriminator.loss(joint, 1.0)
    before.backward()
    assert joint.grad is not None
    with torch.no_grad():
        confused = joint - 5.0 * joint.grad  # a step of descent on the whole loss, as the optimizer takes it
        assert discriminator.loss(confused, 1.0) > before
        for parameter in discriminator.parameters():
            assert parameter.grad is not None
            parameter.sub_(0.05 * parameter.grad)
        assert discriminator.loss(joint, 1.0) < before
