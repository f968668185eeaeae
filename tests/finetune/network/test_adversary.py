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


def test_seconds_that_do_not_exist_are_neither_judged_nor_taught() -> None:
    torch.manual_seed(0)
    discriminator, joint = Discriminator(8), torch.randn(2, 3, 10, 8)
    present = torch.arange(10) < torch.tensor([10, 7, 1])[:, None]
    changed = joint.masked_fill(~present[..., None], 1e6).requires_grad_()
    found = discriminator.loss(changed, 0.5, present)
    rows = torch.cat([each[video, :length] for each in joint for video, length in enumerate((10, 7, 1))]).relu()
    truth = torch.cat([torch.ones(18), torch.zeros(18)])
    torch.testing.assert_close(found, F.binary_cross_entropy_with_logits(discriminator(rows), truth))
    found.backward()
    assert changed.grad is not None
    assert not changed.grad[:, ~present].any()
    assert changed.grad[:, present].any()


def test_where_every_second_exists_none_has_to_be_said() -> None:
    torch.manual_seed(0)
    discriminator, joint = Discriminator(8), torch.randn(2, 3, 10, 8)
    assert discriminator.loss(joint, 1.0) == discriminator.loss(joint, 1.0, torch.ones(3, 10, dtype=torch.bool))


def test_the_parser_ascends_what_the_discriminator_descends() -> None:
    torch.manual_seed(0)
    discriminator, joint = Discriminator(8), torch.randn(2, 8, 10, 8)
    gradients = {}
    for alpha in (-1.0, 0.7):  # at −1 the reversal is undone: the plain gradient
        features = joint.clone().requires_grad_()
        loss = discriminator.loss(features, alpha)
        gradients[alpha] = torch.autograd.grad(loss, [features, *discriminator.parameters()])
    torch.testing.assert_close(gradients[0.7][0], -0.7 * gradients[-1.0][0])
    for reversed_, plain in zip(gradients[0.7][1:], gradients[-1.0][1:], strict=True):
        assert torch.equal(reversed_, plain)


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
