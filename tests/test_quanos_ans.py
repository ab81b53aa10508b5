"""ANS: Eq. 2 written out by hand gives the same, for any wiring, and nothing is left behind."""

import gc
import weakref
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos import build_model, quantize
from quanos.ans import activations, adversarial_noise_sensitivity
from quanos.attacks import fgsm, perturb
from quanos.layers import quantized_layers


class Branches(nn.Module):
    """Functional ReLU, two branches with a sum, a linear bottleneck and a concatenation."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.left = nn.Conv2d(4, 4, 3, padding=1)
        self.right = nn.Conv2d(4, 4, 1)
        self.narrow = nn.Conv2d(8, 2, 1)
        self.wide = nn.Conv2d(2, 6, 1)
        self.norm = nn.BatchNorm2d(6)
        self.classifier = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        self.seen = {"stem": (a := functional.relu(self.stem(x)))}
        both = self.left(a)
        both += self.right(a)
        self.seen["left"] = self.seen["right"] = b = both.relu()
        self.seen["narrow"] = c = self.narrow(torch.cat([a, b], 1))  # no activation function
        self.seen["wide"] = d = torch.relu(self.norm(self.wide(c)))
        return self.classifier(d.mean((2, 3)))


def prepared(model: nn.Module, seed: int = 0) -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(seed)
    model = quantize(model, 6)
    x, labels = torch.rand(10, 1, 8, 8), torch.arange(10) % 3
    model(x)
    return model.eval(), x, labels


def test_eq2_by_hand_on_a_network_with_branches() -> None:
    model, x, labels = prepared(Branches())
    adversarial = perturb(model, x, labels, fgsm(0.05))
    with torch.no_grad():
        model(x)
        clean = dict(model.seen)
        model(adversarial)
    expected = {n: float((model.seen[n] - a).norm() / a.norm()) for n, a in clean.items()}
    measured = adversarial_noise_sensitivity(model, [(x, labels)])
    assert measured == pytest.approx(expected, rel=1e-5)
    assert set(measured) == set(quantized_layers(model))
    assert all(value > 0 for value in measured.values())


@pytest.mark.parametrize("reduction", ["sample", "images"])
def test_no_batch_outlives_the_next(reduction) -> None:
    """Memory does not grow with the number of images: activations of one batch are held at most."""
    model, x, labels = prepared(Branches())
    seen: list[weakref.ref[Tensor]] = []

    def batches() -> Iterator[tuple[Tensor, Tensor]]:
        for _ in range(4):
            model.seen.clear()
            gc.collect()
            assert sum(one() is not None for one in seen) <= alive
            images = x.clone()
            seen.extend([weakref.ref(images)])
            yield images, labels

    layers = len(quantized_layers(model))
    alive = layers + 1
    watch = [
        layer.register_forward_hook(lambda _, __, out: seen.append(weakref.ref(out)))
        for layer in quantized_layers(model).values()
    ]
    adversarial_noise_sensitivity(model, batches(), reduction=reduction)
    assert len(seen) > 4 * layers
    for hook in watch:
        hook.remove()


@pytest.mark.parametrize("reduction", ["sample", "images"])
def test_the_size_of_a_batch_changes_nothing(reduction) -> None:
    model, x, labels = prepared(Branches())
    whole, parts = (
        adversarial_noise_sensitivity(
            model, zip(x.split(n), labels.split(n), strict=True), reduction=reduction
        )
        for n in (10, 3)
    )
    assert whole == pytest.approx(parts, rel=1e-5)


def test_the_mean_over_images_is_the_mean_of_single_images() -> None:
    model, x, labels = prepared(Branches())
    single = [
        adversarial_noise_sensitivity(model, [(x[i : i + 1], labels[i : i + 1])]) for i in range(10)
    ]
    expected = {name: sum(row[name] for row in single) / 10 for name in single[0]}
    measured = adversarial_noise_sensitivity(model, [(x, labels)], reduction="images")
    assert measured == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["vgg-small", "resnet-small", "mobilenetv2"])
def test_every_layer_of_the_zoo_is_sensed_and_nothing_stays(name) -> None:
    model, x, labels = prepared(build_model(name, (1, 8, 8), 3))
    model.train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    measured = adversarial_noise_sensitivity(model, [(x, labels)])
    assert list(measured) == list(quantized_layers(model))
    # Deep in an untrained network nothing may move any more, but the first layer does.
    assert all(0 <= value < 100 for value in measured.values())
    assert next(iter(measured.values())) > 0.01
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_activations_are_those_after_relu() -> None:
    model, x, _ = prepared(build_model("vgg-small", (1, 8, 8), 3))
    assert all((a >= 0).all() and (a > 0).any() for a in activations(model, x).values())


def test_no_perturbation_no_sensitivity() -> None:
    model, x, labels = prepared(Branches())
    measured = adversarial_noise_sensitivity(model, [(x, labels)], attack=fgsm(0.0))
    assert set(measured.values()) == {0.0}


def test_what_cannot_be_measured_is_refused() -> None:
    model, x, labels = prepared(Branches())
    with pytest.raises(ValueError, match="there are sample, images"):
        adversarial_noise_sensitivity(model, [(x, labels)], reduction="median")
    with pytest.raises(ValueError, match="give at least one image"):
        adversarial_noise_sensitivity(model, [])
    with torch.no_grad():
        model.stem.weight.zero_()
        model.stem.bias.fill_(-1)
    for reduction in ("sample", "images"):
        with pytest.raises(ValueError, match="layer stem is dead"):
            adversarial_noise_sensitivity(model, [(x, labels)], reduction=reduction)
