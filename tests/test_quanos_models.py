"""The zoo: shapes, what runs in front of the first layer, shortcuts, images that do not fit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quanos.layers import get_bits, quantize, set_bits
from quanos.models import MODELS, build_model


@pytest.mark.parametrize("name", MODELS)
def test_gives_logits_for_cifar_images(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 7)
        assert model(torch.empty(2, 3, 32, 32)).shape == (2, 7)


@pytest.mark.parametrize("name", ["vgg-small", "resnet-small"])
@given(
    channels=st.integers(1, 4),
    height=st.integers(4, 20),
    width=st.integers(4, 20),
    classes=st.integers(1, 12),
)
@settings(max_examples=4, deadline=None)
def test_small_models_take_any_shape(
    name: str, channels: int, height: int, width: int, classes: int
) -> None:
    model = quantize(build_model(name, (channels, height, width), classes), 3)
    logits = model(torch.rand(2, channels, height, width))
    logits.sum().backward()
    assert logits.shape == (2, classes)
    assert all(parameter.grad is not None for parameter in model.parameters())


@pytest.mark.parametrize(("name", "convolutions"), [("vgg19", 16), ("resnet18", 20)])
def test_convolutions_of_the_papers_networks(name: str, convolutions: int) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 10)
    assert sum(isinstance(m, nn.Conv2d) for m in model.modules()) == convolutions


def test_normalises_inside() -> None:
    model = build_model("vgg-small", (2, 8, 8), 3, mean=(0.2, 0.4), std=(0.1, 0.5))
    image = torch.tensor([0.3, 0.9]).view(1, 2, 1, 1).expand(1, 2, 8, 8)
    torch.testing.assert_close(model.normalize(image), torch.ones(1, 2, 8, 8))


def test_shortcuts_follow_the_layer_they_feed() -> None:
    model = build_model("resnet-small", (1, 8, 8), 3)
    assert len(model.feeds) == 2
    quantized = quantize(model, 8)
    shortcut, fed = next(iter(model.feeds.items()))
    set_bits(quantized, {fed: 3})
    assert {n for n, k in get_bits(quantized).items() if k == 3} == {shortcut, fed}
    set_bits(quantized, {shortcut: 5})  # naming it is allowed
    assert get_bits(quantized)[shortcut] == 5
    assert get_bits(quantized)[fed] == 3


@pytest.mark.parametrize(
    ("name", "shape", "classes", "says"),
    [
        ("vgg20", (3, 32, 32), 10, "'vgg20' is unknown; there are vgg11"),
        ("vgg19", (3, 28, 28), 10, "at least 32x32 pixels, not 28x28"),
        ("resnet18", (3, 4, 32), 10, "at least 8x8"),
        ("vgg-small", (3, 32), 10, "three whole numbers"),
        ("vgg-small", (0, 8, 8), 10, "above zero"),
        ("vgg-small", (1, 8, 8), 0, "above zero"),
    ],
)
def test_what_does_not_fit_is_refused(
    name: str, shape: tuple[int, ...], classes: int, says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        build_model(name, shape, classes)
