"""The gate: an honest model passes, and every known way of masking gradients is named."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from quanos import build_model, quantize
from quanos.accuracy import share, subset, under_attack
from quanos.adversary.gate import reasons_of, zero_gradient_share
from quanos.adversary.protocols import FULL, STRONG, members, strong_attack
from quanos.adversary.subject import Subject
from quanos.config import Config
from quanos.data import Split
from quanos.reporting.result_table import ATTACKS
from quanos.robustness import Evaluation, accuracy, count_attacks, evaluate

CONFIG = Config(
    fgsm_epsilons=(0.05, 0.1),
    pgd_epsilons=(0.02, 0.1),
    strong_steps=5,
    strong_restarts=2,
    apgd_steps=8,
    square_queries=40,
)
OWN = [member.name for member in STRONG if member.twin is None]


def blobs(count: int = 80) -> Split:
    """Two classes that differ in the brightness of the left and right half."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(count) % 2
    codes = torch.randint(90, 150, (count, 1, 8, 8), generator=generator)
    codes[labels == 0, :, :, :4] += 25
    codes[labels == 1, :, :, 4:] += 25
    return Split(codes.to(torch.uint8), labels, 255)


class Halves(nn.Module):
    """Compares the halves; `sharpness` scales the logits."""

    def __init__(self, sharpness: float = 20.0) -> None:
        super().__init__()
        self.sharpness = sharpness

    def forward(self, x: Tensor) -> Tensor:
        score = self.sharpness * (x[..., :4].mean((1, 2, 3)) - x[..., 4:].mean((1, 2, 3)))
        return torch.stack([score, -score], 1)


class Rounded(Halves):
    """Rounds the pixels, with no gradient through it."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward((x * 255).round() / 255)


class Outside(Halves):
    """Preprocesses in NumPy, out of autograd's sight."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(torch.from_numpy(x.detach().numpy().clip(0.1, 0.9)))


class Shattered(Halves):
    """A preprocessing whose gradient points anywhere: not zero, only wrong."""

    def forward(self, x: Tensor) -> Tensor:
        ripple = (x * 4000).sin() / 4000
        return super().forward(x.detach() + 100 * (ripple - ripple.detach()))


class Random(Halves):
    """Adds noise at every call."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x + 0.3 * torch.rand_like(x))


@pytest.mark.parametrize(
    ("model", "verdict"),
    [
        (Halves(), "passes"),
        (Halves(200.0), "passes"),
        (Rounded(), "100.0 % of the gradients are zero"),
        (Rounded(), "accuracy at epsilon 0.5 is 90.0 %, above chance"),
        (Rounded(), "square take"),
        (Outside(), "100.0 % of the gradients are zero"),
        (Shattered(), "accuracy at epsilon 0.5"),
        (Halves(20.0 * 1e4), "gradients are zero"),
        (Random(), "answers the same images differently"),
    ],
)
def test_the_verdict(model, verdict) -> None:
    torch.manual_seed(0)
    result = evaluate(model, blobs(), CONFIG, classes=2)
    assert result.clean_accuracy >= 0.9
    assert verdict in result.gate["verdict"]
    assert result.gate["verdict"].startswith("passes" if verdict == "passes" else "masked: ")


def honest() -> dict:
    """Numbers of a gate that passes."""
    row = {
        "epsilon": 0.1,
        "fgsm_accuracy": 0.5,
        "pgd_accuracy": 0.45,
        "noise_accuracy": 0.98,
        "white_box_accuracy": 0.44,
        "worst_accuracy": 0.44,
        "beyond_white_box": {"square": 0.002},
        "survives_rounding": 1.0,
    }
    low = {"epsilon": 0.05, "fgsm_accuracy": 0.8, "pgd_accuracy": 0.8, "worst_accuracy": 0.79}
    return {
        "zero_gradient_share": 0.01,
        "accuracy_at_0.5": 0.1,
        "repeats": True,
        "rows": [row | low, row],
        "longer": {"epsilon": 0.1, "before": 0.44, "after": 0.43},
    }


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda n: None, None),
        (lambda n: n.update(repeats=False), "answers the same images differently"),
        (lambda n: n.update(zero_gradient_share=0.11), "11.0 % of the gradients are zero"),
        (lambda n: n.update({"accuracy_at_0.5": 0.12}), "epsilon 0.5 is 12.0 %, above chance"),
        (lambda n: n["rows"][1].update(worst_accuracy=0.81), "of worst does not rise"),
        (lambda n: n["rows"][1].update(pgd_accuracy=0.82), "success of pgd does not rise"),
        (lambda n: n["rows"][0].update(pgd_accuracy=0.82), "FGSM beats PGD at epsilon 0.0500"),
        (lambda n: n["rows"][1].update(noise_accuracy=0.7), "noise does more than half"),
        (
            lambda n: n["rows"][1]["beyond_white_box"].update(transfer_2=0.002),
            "square, transfer_2 take 0.4 points beyond the white box at epsilon 0.1000",
        ),
        (lambda n: n["longer"].update(after=0.41), "3 times the steps and restarts still take 3.0"),
    ],
)
def test_every_sign_of_masking_is_a_reason(change, reason) -> None:
    numbers = deepcopy(honest())
    change(numbers)
    reasons = list(reasons_of(numbers, 0.99, 10_000, 10))
    assert reasons == [] if reason is None else reason in "; ".join(reasons)


def test_a_few_images_beyond_the_white_box_are_chance_where_there_are_few() -> None:
    numbers = honest()
    numbers["rows"][1]["beyond_white_box"] = {"square": 3 / 450}
    assert not list(reasons_of(numbers, 0.99, 450, 10))
    assert list(reasons_of(numbers, 0.99, 2000, 10))


def test_the_worst_case_is_no_better_than_any_of_its_parts() -> None:
    torch.manual_seed(0)
    model, twin, other = (quantize(build_model("vgg-small", (1, 8, 8), 2), k) for k in (3, 16, 3))
    split = blobs(20)
    for network in (model, twin, other):
        network(split.images())
    ticks: list[int] = []
    result = evaluate(
        model,
        split,
        CONFIG,
        classes=2,
        twin=twin,
        other_seed=other,
        advance=lambda n, _: ticks.append(n),
    )
    assert sum(ticks) == count_attacks(CONFIG)
    for epsilon in CONFIG.pgd_epsilons:
        rows = {r["attack"]: r["accuracy"] for r in result.strong if r["epsilon"] == epsilon}
        assert list(rows) == [*(member.name for member in members(CONFIG)), "worst_case"]
        assert rows["worst_case"] <= min(rows.values())
    assert "absent" not in result.gate
    assert result.clean_accuracy == accuracy(model, split)
    losses = [r["adversarial_loss"] + r["accuracy"] for r in result.paper + result.strong]
    assert losses == pytest.approx([result.clean_accuracy] * len(losses))


def test_a_twin_that_is_not_there_is_said_to_be_absent() -> None:
    ticks: list[int] = []
    model = Halves()
    result = evaluate(
        model, blobs(20), CONFIG, classes=2, twin=model, advance=lambda n, _: ticks.append(n)
    )
    assert sum(ticks) == count_attacks(CONFIG)
    assert {row["attack"] for row in result.strong} == {*OWN, "worst_case"}
    assert result.gate["absent"] == {
        "transfer_float": "the network has no quantizers",
        "transfer_2": "the network has no quantizers",
        "transfer_16": "it is the network itself",
        "transfer_seed": "a network trained from another seed was not given",
    }


APGD = ("apgd_ce", "apgd_dlr", "apgd_t")


@pytest.mark.parametrize(
    ("zero", "absent"),
    [
        (("apgd_steps", "apgd_targets", "square_queries"), {*APGD, "square"}),
        (("apgd_steps",), set(APGD)),
        (("apgd_targets",), {"apgd_t"}),
    ],
)
def test_a_budget_of_zero_leaves_an_attack_out(zero, absent) -> None:
    lean = Config(**dict.fromkeys(zero, 0))
    left = {member.name for member in members(lean)}
    assert {member.name for member in STRONG} - left == absent


def test_every_attack_has_a_name_in_words_and_can_be_asked_for() -> None:
    for member in STRONG:
        assert member.name in ATTACKS
        assert strong_attack(member.name, 0.1, Config(**FULL)).name == member.name
    with pytest.raises(ValueError, match="'cw' is unknown; there are fgsm, pgd, "):
        strong_attack("cw", 0.1, CONFIG)


def test_transfer_needs_no_gradient_of_the_network_itself() -> None:
    """Blind itself, the network falls to images that were made on its honest twin."""
    model, split = Rounded(), blobs()
    attack = strong_attack("transfer_16", 0.1, CONFIG)
    assert under_attack(model, split, attack).all()
    assert not under_attack(model, split, attack, source=Halves()).any()
    assert zero_gradient_share(model, split) == 1


def test_the_two_bit_twin_leaves_the_network_as_it_was() -> None:
    torch.manual_seed(0)
    model = quantize(build_model("vgg-small", (1, 8, 8), 2), {"features.0": 5})
    split = blobs(20)
    model(split.images())
    before = [module.bits for module in model.modules() if hasattr(module, "bits")]
    own, twin = (
        under_attack(model, split, strong_attack("pgd", 0.1, CONFIG), twin=twin)
        for twin in (None, "2")
    )
    assert before == [module.bits for module in model.modules() if hasattr(module, "bits")]
    assert own.shape == twin.shape == (20,)


def test_an_image_is_robust_only_if_no_attack_fools_the_network(monkeypatch) -> None:
    fooled = {"fgsm": [0, 1], "pgd_identity": [1, 2], "square": [3]}

    real, registry = Subject.withstood, {member.name for member in STRONG}

    def withstood(subject, name, attack, tried=None, **more):
        member = name.partition(" at ")[0]
        if member not in registry:  # the paper's protocol and the gate
            return real(subject, name, attack, tried, **more)
        places = subset(subject.split, tried).codes[:, 0, 0, 0].tolist()
        return torch.tensor([place not in fooled.get(member, []) for place in places])

    split = blobs(10)
    codes = split.codes.clone()
    codes[:, 0, 0, 0] = torch.arange(10)
    split = Split(codes, split.labels, 255)
    monkeypatch.setattr(Subject, "withstood", withstood)
    result = evaluate(Halves(), split, CONFIG, classes=2)
    rows = {row["attack"]: row for row in result.strong if row["epsilon"] == 0.02}
    assert [rows[name]["accuracy"] for name in ("fgsm", "pgd", "pgd_identity")] == [0.8, 1, 0.7]
    assert [rows[name]["tried"] for name in ("fgsm", "pgd", "pgd_identity", "square")] == [
        *(10, 10, 8, 7)
    ]
    assert rows["worst_case"]["accuracy"] == 0.6
    assert result.gate["rows"][0]["beyond_white_box"] == pytest.approx({"square": 0.1})
    assert "square take 10.0 points beyond the white box" not in result.gate["verdict"]


def test_an_epsilon_grid_of_nothing_still_has_a_verdict() -> None:
    config = Config(fgsm_epsilons=(), pgd_epsilons=())
    assert evaluate(Halves(), blobs(20), config, classes=2).gate["verdict"] == "passes"
    assert share(torch.zeros(0, dtype=torch.bool)) == 0


def test_the_same_seed_gives_the_same_numbers() -> None:
    torch.manual_seed(0)
    model, split = quantize(build_model("vgg-small", (1, 8, 8), 2), 3), blobs(16)
    model(split.images())
    lean = replace(CONFIG, strong_steps=2, apgd_steps=3, square_queries=5, pgd_epsilons=(0.1,))
    first, second = (evaluate(model, split, lean, classes=2) for _ in range(2))
    assert isinstance(first, Evaluation)
    assert first == second


def test_the_size_of_a_batch_changes_nothing_without_chance() -> None:
    attack = strong_attack("fgsm", 0.1, CONFIG)
    rights = [under_attack(Halves(), blobs(30), attack, batch=size) for size in (7, 30)]
    assert torch.equal(*rights)
