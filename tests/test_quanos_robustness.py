"""The gate: an honest model passes, and every known way of masking gradients is named."""

import pytest
import torch
from torch import Tensor, nn

from quanos import build_model, quantize, robustness
from quanos.config import Config
from quanos.data import Split
from quanos.robustness import Evaluation, accuracy, count_attacks, evaluate, gate

CONFIG = Config(
    fgsm_epsilons=(0.05, 0.1), pgd_epsilons=(0.02, 0.1), strong_steps=5, strong_restarts=2
)


def blobs(count: int = 80) -> Split:
    """Two classes that differ in the brightness of the left and right half."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    codes = torch.randint(90, 150, (count, 1, 8, 8), generator=generator)
    codes[labels == 0, :, :, :4] += 25
    codes[labels == 1, :, :, 4:] += 25
    return Split(codes.to(torch.uint8), labels, 255)


class Halves(nn.Module):
    """Compares the halves; `sharpness` scales the logits, `rounded` hides the gradient."""

    def __init__(self, sharpness: float = 20.0, rounded: bool = False) -> None:
        super().__init__()
        self.sharpness, self.rounded = sharpness, rounded

    def forward(self, x: Tensor) -> Tensor:
        if self.rounded:
            x = (x * 255).round() / 255
        score = self.sharpness * (x[..., :4].mean((1, 2, 3)) - x[..., 4:].mean((1, 2, 3)))
        return torch.stack([score, -score], 1)


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        (Halves(), "passes"),
        (Halves(rounded=True), "gradients are zero"),
        (Halves(rounded=True), "accuracy at epsilon 0.5 is 90.0 %, above chance"),
        (Halves(sharpness=1e5), "gradients are zero"),
    ],
)
def test_the_verdict(model, verdict) -> None:
    result = evaluate(model, blobs(), CONFIG, classes=2)
    assert result.clean_accuracy == 1
    assert verdict in result.gate["verdict"]
    assert result.gate["verdict"].startswith("passes" if verdict == "passes" else "masked: ")


@pytest.mark.parametrize(
    ("attack", "accuracies", "reason"),
    [
        ("pgd", (0.99, 0.99), "FGSM beats PGD"),
        ("worst_case", (0.2, 0.5), "success does not rise with epsilon"),
        ("transfer_16", (0.0, 0.0), "transfer_16 beats the white box at epsilon 0.0200"),
    ],
)
def test_every_sign_of_masking_is_a_reason(attack, accuracies, reason) -> None:
    model, split = Halves(), blobs()
    result = evaluate(model, split, CONFIG, classes=2, twin=Halves(10.0))
    assert result.gate["verdict"] == "passes"
    for row in result.strong:
        if attack == "transfer_16" and row["attack"].startswith("pgd"):
            row["accuracy"] = 0.5
        if row["attack"] == attack:
            row["accuracy"] = accuracies[row["epsilon"] > 0.05]
    assert reason in gate(model, split, result, CONFIG, 2)["verdict"]


def test_the_worst_case_is_no_better_than_any_of_its_parts() -> None:
    torch.manual_seed(0)
    model, twin = (quantize(build_model("vgg-small", (1, 8, 8), 2), k) for k in (3, 16))
    split = blobs(40)
    for network in (model, twin):
        network(split.images())
    ticks: list[int] = []
    result = evaluate(
        model, split, CONFIG, classes=2, twin=twin, advance=lambda n, _: ticks.append(n)
    )
    assert sum(ticks) == count_attacks(CONFIG)
    for epsilon in CONFIG.pgd_epsilons:
        rows = {r["attack"]: r["accuracy"] for r in result.strong if r["epsilon"] == epsilon}
        assert list(rows) == ["pgd", "pgd_identity", "transfer_float", "transfer_16", "worst_case"]
        assert rows["worst_case"] <= min(rows.values())
    assert result.clean_accuracy == accuracy(model, split)
    losses = [r["adversarial_loss"] + r["accuracy"] for r in result.paper + result.strong]
    assert losses == pytest.approx([result.clean_accuracy] * len(losses))


def test_an_image_is_robust_only_if_no_attack_fools_the_network(monkeypatch) -> None:
    fooled = {"pgd": [0, 1], "pgd_identity": [1, 2], "transfer_float": [3]}

    def attacks(*_):
        for name, indices in fooled.items():
            right = torch.ones(10, dtype=torch.bool)
            right[indices] = False
            yield name, right

    monkeypatch.setattr(robustness, "_strong_attacks", attacks)
    result = evaluate(Halves(), blobs(10), CONFIG, classes=2)
    worst = [row["accuracy"] for row in result.strong if row["attack"] == "worst_case"]
    assert worst == [0.6, 0.6]


def test_the_same_seed_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    model = quantize(build_model("vgg-small", (1, 8, 8), 2), 3)
    model(blobs().images())
    first, second = (evaluate(model, blobs(), CONFIG, classes=2) for _ in range(2))
    assert isinstance(first, Evaluation)
    assert first == second
