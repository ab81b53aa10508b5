"""Attacks: in the ball, in the image range, right on a case with a closed form, and no traces."""

import copy
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quanos import build_model, quantize
from quanos.adversary.task import LOSSES, Task, margin
from quanos.attacks import (
    Attack,
    fgsm,
    input_gradient,
    n_fgsm,
    perturb,
    pgd,
    predict,
)
from quanos.quantizers.switches import quantizers


class Linear(nn.Module):
    """Two classes; the logit of class 1 is w x, that of class 0 is zero."""

    def __init__(self, weights: list[float]) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(weights))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        score = x.flatten(1) @ self.w
        return torch.stack([torch.zeros_like(score), score], 1)


def small_network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return quantize(build_model("vgg-small", (1, 8, 8), 10), 4)


def images(count: int = 6, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(count, 1, 8, 8, generator=generator), torch.arange(count) % 10


@pytest.mark.parametrize("attack", [fgsm(0.1), pgd(0.1, steps=7, step_size=0.05), pgd(0.1)])
def test_a_linear_model_falls_along_the_sign_of_its_weights(attack) -> None:
    model = Linear([3.0, -2.0, 0.5, 0.0])
    x = torch.full((2, 1, 2, 2), 0.5)
    x[1, 0, 0, 0] = 0.02
    labels = torch.tensor([1, 0])  # class 1 wants w x large, class 0 small
    expected = x + 0.1 * torch.tensor([[-1.0], [1.0]]).mul(model.w.sign()).reshape(2, 1, 2, 2)
    assert torch.allclose(perturb(model, x, labels, attack), expected.clamp(0, 1))


@settings(max_examples=15)
@given(st.floats(0, 0.6), st.integers(1, 3), st.integers(1, 2), st.booleans())
def test_adversarial_images_stay_in_the_ball_and_in_range(epsilon, steps, restarts, start) -> None:
    x, labels = images()
    attack = pgd(epsilon, steps=steps, restarts=restarts, random_start=start)
    adversarial = perturb(small_network(), x, labels, attack, torch.Generator())
    assert adversarial.min() >= 0
    assert adversarial.max() <= 1
    assert (adversarial - x).abs().max() <= epsilon + 1e-6


@pytest.mark.parametrize("attack", [fgsm(0.1), pgd(0.1, restarts=2), pgd(0.1, identity=True)])
def test_the_model_stays_as_it_was(attack) -> None:
    model = small_network()
    x, labels = images()
    model.train()
    model(x)  # starts the quantizers' statistics
    model[0].eval() if isinstance(model, nn.Sequential) else model.classifier.eval()
    before = copy.deepcopy(model.state_dict())
    modes = [module.training for module in model.modules()]
    perturb(model, x, labels, attack, torch.Generator())
    predict(model, x)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert modes == [module.training for module in model.modules()]
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not any(quantizer.identity_ste for quantizer in quantizers(model))


def test_pgd_climbs_at_least_as_high_as_fgsm() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 10))
    x, labels = images(40)

    def loss(attack: Attack) -> float:
        adversarial = perturb(model, x, labels, attack)
        return nn.functional.cross_entropy(model(adversarial), labels).item()

    assert loss(fgsm(0)) < loss(fgsm(0.3)) < loss(pgd(0.3, steps=20, step_size=0.05))


def test_restarts_only_add_to_success() -> None:
    model = small_network()
    x, _ = images(60)
    model(x)
    labels = predict(model, x)
    right = []
    for restarts in (1, 4):
        attack = pgd(0.02, steps=2, restarts=restarts, random_start=True)
        adversarial = perturb(model, x, labels, attack, torch.Generator().manual_seed(1))
        right.append(predict(model, adversarial) == labels)
    assert not (right[1] & ~right[0]).any()


def test_identity_lets_gradients_pass_where_the_range_clips() -> None:
    model = quantize(nn.Sequential(nn.Conv2d(1, 4, 1), nn.Flatten(), nn.Linear(16, 2)), 4)
    model(torch.rand(8, 1, 2, 2) * 0.1)  # the range is now far below 1
    model.eval()
    x, labels = torch.full((1, 1, 2, 2), 0.9), torch.tensor([0])
    assert (input_gradient(model, x, labels) == 0).all()
    blind = perturb(model, x, labels, pgd(0.1, steps=2))
    seeing = perturb(model, x, labels, pgd(0.1, steps=2, identity=True))
    assert torch.equal(blind, x)
    assert not torch.equal(seeing, x)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: fgsm(-0.1), "must not be negative"),
        (lambda: pgd(0.1, steps=0, step_size=0.1), "at least 1"),
        (lambda: pgd(0.1, restarts=0), "at least 1"),
        (
            lambda: perturb(Linear([0.0] * 64), *images(), pgd(0.1, random_start=True)),
            "needs a generator",
        ),
    ],
)
def test_what_cannot_be_is_refused(make, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()


def test_n_fgsm_is_fgsm_from_noise_and_may_leave_the_ball() -> None:
    model, (x, labels) = small_network(), images()
    assert torch.equal(
        perturb(model, x, labels, n_fgsm(0.1, noise=0.0)), perturb(model, x, labels, fgsm(0.1))
    )
    moved = perturb(model, x, labels, n_fgsm(0.1), torch.Generator()) - x
    assert 0.1 < moved.abs().max() <= 0.3 + 1e-6


def test_fgsm_from_a_random_start_steps_further_but_stays_in_the_ball() -> None:
    model = Linear([3.0, -2.0, 0.5, 1.0])
    x, labels = torch.full((40, 1, 2, 2), 0.5), torch.ones(40, dtype=torch.int64)
    moved = perturb(model, x, labels, fgsm(0.1, random_start=True), torch.Generator()) - x
    assert moved.abs().max() <= 0.1 + 1e-6
    assert (moved.sign() == -model.w.sign().reshape(1, 1, 2, 2)).all()  # 1.25 outweighs the noise
    assert (moved.abs() < 0.099).any()


def task(labels: list[int], target: int = 0, restart: int = 0) -> Task:
    count = len(labels)
    return Task(
        torch.zeros(count, 1, 1, 1),
        torch.tensor(labels),
        torch.zeros(1),
        torch.full((count,), target),
        restart,
    )


@pytest.mark.parametrize(
    ("loss", "logits", "expected"),
    [
        ("dlr", [4.0, 1.0, 2.0, 0.0], -(4 - 2) / (4 - 1)),
        ("dlr", [1.0, 4.0, 2.0, 0.0], -(1 - 4) / (4 - 1)),  # misclassified: positive
        ("dlr", [4.0, 1.0, 2.0], -(4 - 2) / (4 - 1)),
        ("dlr", [4.0, 1.0], -3.0),  # two classes have no third logit
        ("dlr_targeted", [4.0, 1.0, 2.0, 0.0, 3.0], -(4 - 3) / (4 - 1.5)),
        ("dlr_targeted", [4.0, 1.0, 2.0], -(4 - 2) / (4 - 1)),
        ("dlr_targeted", [4.0, 1.0], -3.0),
        ("temperature", [0.0, 1.0], torch.log(torch.tensor(1 + torch.e)).item()),
        ("temperature", [0.0, 1000.0], torch.log(torch.tensor(1 + torch.e)).item()),
        ("ce", [0.0, 1000.0], 1000.0),
    ],
)
def test_losses_by_hand(loss, logits, expected) -> None:
    target = {5: 4, 3: 2}.get(len(logits), 1)
    found = LOSSES[loss](torch.tensor([logits]), task([0], target))
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_dlr_and_temperature_do_not_see_the_logits_scale() -> None:
    logits = torch.randn(20, 10, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(20) % 10
    for loss in ("dlr", "dlr_targeted", "temperature"):
        one, other = (LOSSES[loss](n * logits, task(labels.tolist(), 3)) for n in (1, 1024))
        assert torch.allclose(one, other, rtol=1e-4)
    assert torch.equal(margin(logits, labels) < 0, logits.argmax(1) != labels)


def test_early_stop_keeps_the_first_image_that_fools() -> None:
    model = Linear([1.0, 0.0, 0.0, 0.0])
    x, labels = torch.full((2, 1, 2, 2), 0.5), torch.tensor([1, 0])  # class 1 everywhere
    attack = pgd(0.4, steps=4, step_size=0.1, early_stop=True)
    moved = perturb(model, x, labels, attack) - x
    assert moved[1].abs().max() == 0  # misclassified from the start
    assert moved[0, 0, 0, 0] == pytest.approx(-0.4)


def test_epsilon_in_normalized_space_is_in_units_of_the_models_deviation() -> None:
    model, (x, labels) = small_network(), images()  # its deviation is 0.25
    attack = replace(fgsm(0.1), eps_space="normalized")
    assert torch.equal(perturb(model, x, labels, attack), perturb(model, x, labels, fgsm(0.025)))
    with pytest.raises(ValueError, match="has no normalisation inside"):
        perturb(Linear([1.0] * 64), x, labels, attack)


def test_a_model_that_cuts_the_graph_has_gradients_of_zero() -> None:
    class Cut(Linear):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x.detach())

    model, x, labels = Cut([1.0] * 64), images()[0], torch.zeros(6, dtype=torch.int64)
    assert (input_gradient(model, x, labels) == 0).all()
    assert (input_gradient(model.requires_grad_(False), x, labels) == 0).all()
