"""Our attacks against those of their authors (pyautoattack) and of foolbox, on a trained network.

Both sides attack the same 450 test images of the digits, 4 bits in every layer; a point is four and
a half images. Both draw their own random starts, so that a few images differ by chance.
"""

from statistics import fmean

import pytest
import torch
from torch import nn
from torch.nn import functional

from quanos import build_model, quantize
from quanos.accuracy import share
from quanos.adversary import square as square_module
from quanos.adversary.apgd import Apgd
from quanos.adversary.protocols import FULL
from quanos.adversary.square import Square
from quanos.attacks import fgsm, perturb, pgd, predict
from quanos.config import Config
from quanos.data import Split, load_dataset
from quanos.robustness import evaluate

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.filterwarnings("ignore:there are .* points with zero gradient"),  # theirs warns
]
EPSILON = 16 / 255
WIDE = 32 / 255
POINT = 0.01
QUERIES = 1000


@pytest.fixture(scope="module")
def split() -> Split:
    return load_dataset("digits").test


@pytest.fixture(scope="module")
def model() -> nn.Module:
    train = load_dataset("digits").train
    torch.manual_seed(0)
    network = quantize(build_model("vgg-small", (1, 8, 8), 10), 4).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.05, momentum=0.9, weight_decay=5e-4)
    for _ in range(10):
        for index in torch.randperm(len(train)).split(64):
            loss = nn.functional.cross_entropy(network(train.images(index)), train.labels[index])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return network.eval().requires_grad_(False)


def standing(model: nn.Module, split: Split, adversarial: torch.Tensor) -> float:
    return share(predict(model, adversarial) == split.labels)


def ours(model: nn.Module, split: Split, attack, seed: int = 0) -> float:
    generator = torch.Generator().manual_seed(seed)
    return standing(model, split, perturb(model, split.images(), split.labels, attack, generator))


def without_last(window, count, size, side, generator) -> torch.Tensor:
    """Windows that end before the last place, unless they fill the line."""
    if side == size:
        return window(count, size, side, generator)
    return functional.pad(window(count, size - 1, side, generator), (0, 1), value=False)


def agree(name: str, own: float, theirs: float) -> None:
    print(f"\n{name}: ours {100 * own:.2f} %, theirs {100 * theirs:.2f} %")
    assert own == pytest.approx(theirs, abs=POINT)


@pytest.mark.parametrize(("loss", "restarts"), [("ce", 1), ("dlr", 1), ("dlr_targeted", 3)])
def test_apgd_agrees_with_its_authors(model, split, loss, restarts) -> None:
    """Means of three seeds: from seed to seed either side moves by up to two points."""
    base = pytest.importorskip("pyautoattack.autopgd_base", reason="pyautoattack is not installed")
    attack = Apgd(name=loss, epsilon=EPSILON, steps=50, loss=loss, restarts=restarts)
    own, theirs = [], []
    for seed in range(3):
        common = {"n_iter": 50, "norm": "Linf", "eps": EPSILON, "seed": seed, "device": "cpu"}
        if loss == "dlr_targeted":
            one = base.APGDAttack_targeted(model, n_target_classes=restarts, **common)
        else:
            one = base.APGDAttack(model, loss=loss, n_restarts=restarts, **common)
        theirs.append(standing(model, split, one.perturb(split.images(), split.labels)))
        own.append(ours(model, split, attack, seed))
    agree(f"APGD {loss}", fmean(own), fmean(theirs))


def test_square_attack_agrees_with_its_authors(model, split, monkeypatch) -> None:
    """Theirs never draws the last place of a square, so that the last row and column stay as they
    are once squares are a pixel: on 8x8 images ours is the stronger by that alone."""
    module = pytest.importorskip("pyautoattack.square", reason="pyautoattack is not installed")
    attack = module.SquareAttack(
        model, norm="Linf", n_queries=QUERIES, eps=WIDE, p_init=0.8, seed=0, device="cpu"
    )
    theirs = standing(model, split, attack.perturb(split.images(), split.labels))
    square = Square(name="square", epsilon=WIDE, queries=QUERIES)
    whole = ours(model, split, square)
    window = square_module._window
    monkeypatch.setattr(
        square_module,
        "_window",
        lambda count, size, side, generator: without_last(window, count, size, side, generator),
    )
    agree("Square", ours(model, split, square), theirs)
    print(f"Square that reaches every pixel: ours {100 * whole:.2f} %")
    assert whole <= theirs


def test_the_strong_protocol_agrees_with_the_standard_autoattack(model, split) -> None:
    """Theirs has FAB, ours PGD and transfer in its place; Square has fewer queries in both."""
    auto = pytest.importorskip("pyautoattack", reason="pyautoattack is not installed")
    few = split.first(200)
    standard = auto.AutoAttack(model, norm="Linf", eps=WIDE, seed=0, device="cpu")
    standard.square.n_queries = QUERIES
    images, _ = standard.run_standard_evaluation(few.images(), few.labels, batch_size=len(few))
    budget = {"strong_steps": 30, "strong_restarts": 1, "square_queries": QUERIES}
    config = Config(**FULL | budget, pgd_epsilons=(WIDE,), fgsm_epsilons=())
    result = evaluate(model, few, config, classes=10)
    agree("standard", result.strong[-1]["accuracy"], standing(model, few, images))
    assert result.gate["verdict"] == "passes"


@pytest.mark.parametrize("epsilon", [8 / 255, EPSILON, WIDE])
@pytest.mark.parametrize("steps", [1, 20])
def test_fgsm_and_pgd_agree_with_foolbox(model, split, epsilon, steps) -> None:
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    bounded = foolbox.PyTorchModel(model, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    if steps > 1:
        attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
            abs_stepsize=epsilon / 8, steps=steps, random_start=False
        )
    theirs, _, _ = attack(bounded, split.images(), split.labels, epsilons=epsilon)
    own = fgsm(epsilon) if steps == 1 else pgd(epsilon, steps=steps, step_size=epsilon / 8)
    images = perturb(model, split.images(), split.labels, own)
    name = f"foolbox {steps} steps, {255 * epsilon:.0f}/255"
    agree(name, standing(model, split, images), standing(model, split, theirs))
    assert ((images - theirs).abs() > 1e-5).float().mean() < 0.01  # signs of rounding alone
