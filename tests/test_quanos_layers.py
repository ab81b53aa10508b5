"""Quantized layers and `quantize` on models of any shape."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quanos.layers import get_bits, layer_codes, quantize, quantized_layers, set_bits
from quanos.models import build_model


class Branches(nn.Module):
    """Two branches, a grouped and a dilated convolution, functional ReLU, concatenation."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 8, 3, padding=1)
        self.left = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.right = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.hidden = nn.Linear(16, 12)
        self.out = nn.Linear(12, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        x = torch.cat([self.left(x), self.right(x) + x], 1).relu().mean((2, 3))
        out: torch.Tensor = self.out(torch.relu(self.hidden(x)))
        return out


def image(seed: int = 0) -> torch.Tensor:
    return torch.rand(4, 3, 9, 9, generator=torch.Generator().manual_seed(seed))


def test_every_layer_but_the_classifier_is_quantized() -> None:
    model = quantize(Branches(), 4)
    assert get_bits(model) == {"stem": 4, "left": 4, "right": 4, "hidden": 4}
    assert type(model.out) is nn.Linear
    assert "out" in get_bits(quantize(Branches(), 4, classifier=True))
    assert "left" not in get_bits(quantize(Branches(), 4, keep_float=("left",)))


def test_quantize_leaves_the_original_alone() -> None:
    original = Branches()
    before = {name: value.clone() for name, value in original.state_dict().items()}
    quantize(original, 2)(image()).sum().backward()
    assert all(torch.equal(before[name], value) for name, value in original.state_dict().items())
    assert all(p.grad is None for p in original.parameters())
    assert not quantized_layers(original)


def test_16_bits_are_close_to_float_and_2_bits_are_not() -> None:
    model = Branches().eval()
    with torch.no_grad():
        exact = model(image())
        error = [float((quantize(model, k).eval()(image()) - exact).abs().max()) for k in (16, 2)]
    assert error[0] < 1e-4 < 1e-2 < error[1]


def test_a_layer_computes_with_its_codes() -> None:
    model = quantize(Branches(), 3).train()
    seen = {}
    model.right.register_forward_hook(lambda m, x, y: seen.update(x=x[0].detach(), y=y.detach()))
    model(image())
    model.eval()(image())
    layer, codes = model.right, layer_codes(model.right, seen["x"])
    w, a = codes["w"].double(), codes["a"].double()
    integers = nn.functional.conv2d(a, w, None, layer.stride, layer.padding, layer.dilation)
    expected = integers * codes["w_step"] * codes["a_step"] + layer.bias[:, None, None]
    assert torch.allclose(seen["y"].double(), expected, atol=1e-5)
    assert int(codes["w"].abs().max()) <= 3
    assert not codes["a_signed"]
    assert int(codes["a"].max()) <= 7


def test_bits_change_and_optimizer_state_stays() -> None:
    model = quantize(Branches(), 16)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(image()).sum().backward()
    optimizer.step()
    before = {id(p): optimizer.state[p]["momentum_buffer"].clone() for p in model.parameters()}
    set_bits(model, {"left": 1, "stem": 5})
    assert get_bits(model) == {"stem": 5, "left": 1, "right": 16, "hidden": 16}
    assert {id(p) for p in model.parameters()} == set(before)
    optimizer.zero_grad()
    model(image()).sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_a_layer_used_under_two_names_is_one_layer() -> None:
    shared = nn.Conv2d(4, 4, 3, padding=1)
    model = nn.Sequential(shared, nn.ReLU(), shared, nn.Flatten(), nn.Linear(64, 2))
    quantized = quantize(model, 4)
    assert quantized[0] is quantized[2]
    assert list(get_bits(quantized)) == ["0"]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(2, 2)), r"not 0 \(Conv1d\); name them in"),
        (nn.Sequential(nn.Linear(3, 2)), "no Conv2d or Linear to quantize besides"),
    ],
)
def test_what_cannot_be_quantized_is_named(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(model, 4)


@pytest.mark.parametrize(
    ("bits", "message"),
    [({"nose": 3}, "no quantized layer nose; it has stem, left"), ({"stem": 17}, "from 1 to 16")],
)
def test_wrong_bits_change_nothing(bits: dict[str, int], message: str) -> None:
    model = quantize(Branches(), 4)
    with pytest.raises(ValueError, match=message):
        set_bits(model, bits)
    assert set(get_bits(model).values()) == {4}


@settings(max_examples=25, deadline=None)
@given(
    channels=st.lists(st.integers(1, 6), min_size=1, max_size=4),
    kernel=st.sampled_from([1, 3, 5]),
    stride=st.integers(1, 2),
    padding_mode=st.sampled_from(["zeros", "reflect", "circular"]),
    bits=st.integers(1, 16),
)
def test_models_nobody_planned_for_train_one_step(
    channels: list[int], kernel: int, stride: int, padding_mode: str, bits: int
) -> None:
    layers: list[nn.Module] = []
    for before, after in zip([3, *channels], channels, strict=False):
        layers += [
            nn.Conv2d(before, after, kernel, stride, kernel // 2, padding_mode=padding_mode),
            nn.BatchNorm2d(after),
            nn.ReLU(),
        ]
    net = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels[-1], 2))
    model = quantize(net, bits)
    loss = model(torch.rand(4, 3, 32, 32)).square().sum()
    loss.backward()
    assert torch.isfinite(loss)
    assert len(quantized_layers(model)) == len(channels)
    assert all(layer.weight.grad is not None for layer in quantized_layers(model).values())


def test_shortcuts_follow_the_layer_they_feed() -> None:
    model = build_model("resnet-small", (1, 8, 8), 3)
    quantized = quantize(model, 8)
    shortcut, fed = next(iter(model.feeds.items()))
    set_bits(quantized, {fed: 3})
    assert {name for name, k in get_bits(quantized).items() if k == 3} == {shortcut, fed}
    set_bits(quantized, {shortcut: 5})  # one that is named goes its own way
    assert (get_bits(quantized)[shortcut], get_bits(quantized)[fed]) == (5, 3)
