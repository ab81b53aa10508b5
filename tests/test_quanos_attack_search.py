"""APGD and Square Attack: in the ball, repeatable, right on closed forms, and better than less."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from quanos import quantize
from quanos.adversary.apgd import Apgd, checkpoints
from quanos.adversary.square import Square, side_length
from quanos.attacks import fgsm, perturb, pgd, predict

ATTACKS = [
    Apgd(name="apgd_ce", epsilon=0.1, steps=10),
    Apgd(name="apgd_dlr", epsilon=0.1, steps=10, loss="dlr", restarts=2),
    Apgd(name="apgd_t", epsilon=0.1, steps=5, loss="dlr_targeted", restarts=3),
    Square(name="square", epsilon=0.1, queries=30),
]


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def trained(classes: int = 4, count: int = 200) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A small smooth network that has learned noisy patterns of 8x8 pixels, 2 channels."""
    torch.manual_seed(0)
    labels = torch.arange(count) % classes
    patterns = torch.rand(classes, 2, 8, 8, generator=generator(1))
    noise = torch.rand(count, 2, 8, 8, generator=generator(2))
    images = 0.4 * patterns[labels] + 0.6 * noise
    model = nn.Sequential(nn.Flatten(), nn.Linear(128, 32), nn.Tanh(), nn.Linear(32, classes))
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
    return model, images, labels


MODEL, IMAGES, LABELS = trained()


def standing(attack, seed: int = 0, model: nn.Module = MODEL) -> torch.Tensor:
    adversarial = perturb(model, IMAGES, LABELS, attack, generator(seed))
    return predict(model, adversarial) == LABELS


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_images_stay_in_the_ball_and_in_range_and_can_be_made_again(attack) -> None:
    one, other = (perturb(MODEL, IMAGES, LABELS, attack, generator()) for _ in range(2))
    assert torch.equal(one, other)
    assert one.min() >= 0
    assert one.max() <= 1
    assert 0 < (one - IMAGES).abs().max() <= attack.epsilon + 1e-6
    assert not torch.equal(one, perturb(MODEL, IMAGES, LABELS, attack, generator(1)))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_quantized_networks_of_two_classes_are_attacked_too(attack) -> None:
    network, images, _ = trained(classes=2)
    model = quantize(network, 4)
    model(images)
    labels = predict(model, images)
    adversarial = perturb(model, images, labels, replace(attack, epsilon=0.3), generator())
    assert (predict(model, adversarial) != labels).sum() > 30


@pytest.mark.parametrize("steps", [1, 2, 7, 20, 100])
def test_checkpoints_come_closer_and_end_in_time(steps) -> None:
    marks = checkpoints(steps)
    assert all(0 < mark <= steps for mark in marks)
    assert marks == sorted(marks)


def test_apgd_climbs_where_a_step_too_long_does_not() -> None:
    """On -(x - 0.55)^2 a step of two radii jumps across the ball; halving finds the top."""

    class Hill(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            score = 1 + 10 * (x - 0.55).square().sum((1, 2, 3))
            return torch.stack([score, torch.zeros_like(score)], 1)

    x, labels = torch.full((3, 1, 2, 2), 0.5), torch.zeros(3, dtype=torch.int64)
    attack = Apgd(name="apgd", epsilon=0.1, steps=100)
    moved = perturb(Hill(), x, labels, attack, generator())
    assert (moved - 0.55).abs().max() < 0.002


def test_stronger_attacks_leave_fewer_standing() -> None:
    targeted = {"loss": "dlr_targeted", "restarts": 3}
    attacks = {
        "none": fgsm(0),
        "fgsm": fgsm(0.09),
        "pgd": pgd(0.09, steps=20),
        "apgd_ce": Apgd(name="apgd_ce", epsilon=0.09, steps=20),
        "apgd_dlr": Apgd(name="apgd_dlr", epsilon=0.09, steps=20, loss="dlr"),
        "apgd_t": Apgd(name="apgd_t", epsilon=0.09, steps=20, **targeted),
    }
    count = {name: int(standing(attack).sum()) for name, attack in attacks.items()}
    assert count["none"] == 200
    assert 20 < count["fgsm"] < 180
    for name in ("pgd", "apgd_ce", "apgd_dlr", "apgd_t"):
        assert count[name] < count["fgsm"], count


def test_more_queries_leave_fewer_standing() -> None:
    count = [
        int(standing(Square(name="square", epsilon=0.25, queries=queries)).sum())
        for queries in (5, 50, 400)
    ]
    assert count[0] > count[1] > count[2], count
    assert count[2] < 100


class Loud(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 1e5 * MODEL(x)


@pytest.mark.parametrize(
    "attack",
    [
        pgd(0.09, steps=20, loss="temperature"),
        Apgd(name="dlr", epsilon=0.09, steps=20, loss="dlr"),
        Square(name="square", epsilon=0.25, queries=200),
    ],
    ids=lambda attack: attack.name,
)
def test_loud_logits_blind_cross_entropy_but_not(attack) -> None:
    assert standing(pgd(0.09, steps=20), model=Loud()).sum() > 150
    quiet = standing(attack).sum()
    assert quiet < 120
    assert (standing(attack, model=Loud()).sum() - quiet).abs() <= 4


def test_square_attack_needs_no_gradient() -> None:
    class Dark(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            with torch.no_grad():
                return MODEL((x * 255).round() / 255)

    attack = Square(name="square", epsilon=0.25, queries=200)
    assert standing(attack, model=Dark()).sum() <= standing(attack).sum() + 6 < 126
    assert standing(pgd(0.25, steps=20), model=Dark()).all()


@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 8), (32, 32)])
def test_squares_fit_into_the_image(height, width) -> None:
    sides = [side_length(1.0, query, 100, height, width) for query in range(1, 100)]
    assert all(1 <= side <= min(height, width) for side in sides)
    assert sides == sorted(sides, reverse=True)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Apgd(name="apgd", epsilon=0.1, steps=0), "at least 1"),
        (lambda: Apgd(name="apgd", epsilon=0.1, loss="hinge"), "'hinge' is unknown; there are ce"),
        (lambda: Square(name="square", epsilon=0.1, queries=0), "queries must be at least 1"),
        (lambda: Square(name="square", epsilon=0.1, eps_space="db"), "there are pixel, normalized"),
        (lambda: perturb(MODEL, IMAGES, LABELS, ATTACKS[0]), "needs a generator"),
        (lambda: perturb(MODEL, IMAGES, LABELS, ATTACKS[3]), "needs a generator"),
    ],
)
def test_what_cannot_be_is_refused(make, sentence) -> None:
    with pytest.raises(ValueError, match=sentence):
        make()
