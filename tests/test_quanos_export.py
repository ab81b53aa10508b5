"""A network's integers: equal to the trainer's at every layer, and refused where they are not."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save_file
from torch import Tensor, nn
from torch.nn import functional

from quanos.export import compare, write_operands
from quanos.integer.graph import trace
from quanos.integer.interpreter import interpret
from quanos.integer.program import ExportError, Program, load, lower, save
from quanos.layers import quantize, quantized_layers
from quanos.models import build_model


def seen(model: nn.Module, shape: tuple[int, ...], bits: int, **options: Any) -> nn.Module:
    """The quantized model after two batches, in evaluation mode, batch norms with real numbers."""
    torch.manual_seed(3)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.weight, 1.0, 0.5)  # some gains are negative
            nn.init.normal_(module.bias, 0.0, 0.2)
    quantized = quantize(model, bits, **options).train()
    for _ in range(2):
        quantized(torch.rand(8, *shape))
    return quantized.eval()


def program_of(model: nn.Module, shape: tuple[int, int, int]) -> Program:
    return lower(trace(model), shape)


SMALL = {
    "vgg-small": (1, 8, 8),
    "resnet-small": (3, 8, 8),
    "resnet18": (3, 8, 8),
    "resnet50": (1, 8, 8),
    "mobilenetv2": (3, 8, 8),
}


@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("bits", [1, 3])
def test_the_integers_are_the_trainers(name: str, bits: int, tmp_path: Path) -> None:
    shape = SMALL[name]
    model = seen(build_model(name, shape, 10), shape, bits)
    save(tmp_path / "net.safetensors", program_of(model, shape))
    program = load(tmp_path / "net.safetensors")  # what the file says, not what we meant
    agreement = compare(model, program, torch.rand(6, *shape))
    assert agreement.exact
    assert [layer.name for layer in agreement.layers] != []
    assert {layer.name for layer in agreement.layers} == set(quantized_layers(model))
    assert agreement.same_class == 6
    assert agreement.largest_logit_error < 1e-5


def test_sixteen_bits_differ_by_single_codes_that_are_counted() -> None:
    shape = SMALL["resnet-small"]
    model = seen(build_model("resnet-small", shape, 10), shape, 16)
    agreement = compare(model, program_of(model, shape), torch.rand(20, *shape))
    total = sum(layer.codes for layer in agreement.layers)
    assert sum(layer.different for layer in agreement.layers) < 0.02 * total
    assert max(layer.largest for layer in agreement.layers) <= 2
    assert agreement.largest_logit_error < 1e-4


def test_a_wrong_scale_shows() -> None:
    shape = SMALL["vgg-small"]
    model = seen(build_model("vgg-small", shape, 10), shape, 4)
    program = program_of(model, shape)
    program.layers[1].arrays["out_mantissa"][0] //= 2
    agreement = compare(model, program, torch.rand(6, *shape))
    assert [layer.different > 0 for layer in agreement.layers] == [False, False, *[True] * 4]


class Unplanned(nn.Module):
    """Branches, a concatenation, groups, dilation, functional ReLU and pooling, a shared layer."""

    def __init__(self, stride: int, padding: int | str, dilation: int, groups: int, bias: bool):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, padding=1, bias=bias)
        options = {"padding": padding, "dilation": dilation, "groups": groups, "bias": bias}
        step = 1 if isinstance(padding, str) else stride
        self.left = nn.Conv2d(4, 4, 3, stride=step, **options)
        self.right = nn.Conv2d(4, 4, 3, stride=step, **options)
        self.norm = nn.BatchNorm2d(8)
        self.shared = nn.Conv2d(8, 8, 1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(x))
        x = torch.cat([self.left(x), functional.relu(self.right(x))], 1)
        x = self.norm(x).relu()  # not foldable: it follows a concatenation
        x = functional.relu(self.shared(x)) + x
        x = functional.max_pool2d(functional.relu(self.shared(x)), 2, 1)
        return self.classifier(torch.flatten(self.pool(x), 1))


@settings(max_examples=15)
@given(
    stride=st.integers(1, 2),
    padding=st.sampled_from([0, 2, "same", "valid"]),
    dilation=st.integers(1, 2),
    groups=st.sampled_from([1, 2, 4]),
    bias=st.booleans(),
    bits=st.integers(1, 6),
    classifier=st.booleans(),
)
def test_networks_of_shapes_that_nobody_planned_for(
    stride: int,
    padding: int | str,
    dilation: int,
    groups: int,
    bias: bool,
    bits: int,
    classifier: bool,
) -> None:
    shape = (2, 9, 10)
    network = Unplanned(stride, padding, dilation, groups, bias)
    model = seen(network, shape, bits, classifier=classifier)
    agreement = compare(model, program_of(model, shape), torch.rand(4, *shape))
    different = sum(layer.different for layer in agreement.layers)
    # A value may lie within float32's rounding of a border between two codes.
    assert different <= 2
    assert different or agreement.largest_logit_error < 1e-5


class Normalised(nn.Module):
    """Normalises by itself, as networks of other people do, and scales between its layers."""

    def __init__(self, normalise: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor([0.4, 0.5]).view(2, 1, 1))
        self.register_buffer("std", torch.tensor([0.2, 0.3]).view(1, 2, 1, 1))
        self.normalise = normalise
        self.stem, self.tip = nn.Conv2d(2, 4, 3), nn.Conv2d(4, 4, 3)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.stem(self.normalise(self, x)))
        x = functional.adaptive_avg_pool2d(2 * self.tip(x) - 0.1, 1)
        return self.head(torch.flatten(x, 1))


@pytest.mark.parametrize(
    "normalise",
    [
        lambda net, x: (x - net.mean) / net.std,
        lambda net, x: (x - 0.5) / 0.25,
        lambda net, x: 2 * x - 1,
        lambda net, x: 1 - x,
        lambda net, x: x.sub(net.mean).div(net.std),
        lambda net, x: torch.mul(x, 3.0) + net.mean,
        lambda net, x: (x - torch.tensor(0.5)) * 2,
    ],
)
def test_networks_that_normalise_by_themselves(normalise: Any, tmp_path: Path) -> None:
    shape = (2, 8, 8)
    model = seen(Normalised(normalise), shape, 5)
    save(tmp_path / "net.safetensors", program_of(model, shape))
    agreement = compare(model, load(tmp_path / "net.safetensors"), torch.rand(6, *shape))
    assert agreement.exact
    assert agreement.same_class == 6
    assert agreement.largest_logit_error < 1e-5
    assert [one.kind for one in trace(model)].count("affine") == 1  # the input's; others fold


def test_operands_multiply_to_the_sums(tmp_path: Path) -> None:
    shape = SMALL["mobilenetv2"]
    model = seen(build_model("mobilenetv2", shape, 10), shape, 4)
    program = program_of(model, shape)
    files = write_operands(program, torch.rand(1, *shape).numpy(), tmp_path)
    assert len(files) == len(program.layers)
    groups = set()
    for file, layer in zip(files, program.layers, strict=True):
        with np.load(file) as data:
            assert np.array_equal(data["a"].astype(np.int64) @ data["w"], data["sums"]), layer.name
            assert int(data["bits"]) == 4
            assert bool(data["a_signed"]) == (layer.attributes["low"] < 0)
            groups.add(len(data["w"]))
    assert {1, 32} <= groups  # depthwise layers are products of their own


def test_images_of_another_shape_are_refused() -> None:
    shape = SMALL["vgg-small"]
    program = program_of(seen(build_model("vgg-small", shape, 10), shape, 4), shape)
    with pytest.raises(ValueError, match=r"shape \(B, 1, 8, 8\), not \(2, 1, 9, 8\)"):
        interpret(program, np.zeros((2, 1, 9, 8)))


class Branching(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv2d(1, 2, 3), nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.head(x.mean((2, 3)) if x.sum() > 0 else x.amax((2, 3)))


def sequence(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(1, 4, 3), *middle, nn.Flatten(), nn.LazyLinear(2))


REFUSED: list[tuple[Callable[[], nn.Module], str]] = [
    (lambda: sequence(nn.Sigmoid()), r"1 \(Sigmoid\) cannot be exported"),
    (lambda: sequence(nn.MaxPool2d(2, ceil_mode=True)), "no dilation, ceil_mode"),
    (lambda: sequence(nn.AdaptiveAvgPool2d(2)), "only global averages"),
    (lambda: sequence(nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular")), "pads with circ"),
    (Branching, "cannot be followed"),
    (lambda: Normalised(lambda net, x: x[:, [0, 0]] - net.mean), r"getitem.*cannot be exported"),
    (lambda: Normalised(lambda net, x: 1 / (x + net.mean)), r"truediv.*cannot be exported"),
    (
        lambda: Normalised(lambda net, x: (x + net.mean) * torch.ones(8, 8)),
        r"constant of shape \(8, 8\)",
    ),
]


@pytest.mark.parametrize(("build", "message"), REFUSED, ids=[m[:12] for _, m in REFUSED])
def test_what_integers_cannot_express_is_named(build: Callable[[], nn.Module], message: str):
    network = build()
    network(torch.rand(2, 1, 8, 8))  # gives lazy layers their shapes
    model = seen(network, (1, 8, 8), 4)
    with pytest.raises(ValueError, match=message):
        trace(model)


def test_a_network_that_saw_nothing_has_no_ranges() -> None:
    with pytest.raises(ValueError, match="has seen no activations"):
        trace(quantize(build_model("vgg-small", (1, 8, 8), 10), 4))


def rewritten(path: Path, change: Callable[[dict[str, Any], dict[str, Any]], None]) -> Path:
    """The file with its head and arrays changed."""
    with safe_open(path, framework="np") as file:
        head = json.loads(file.metadata()["quanos"])
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(head, arrays)
    save_file(arrays, path, metadata={"quanos": json.dumps(head)})
    return path


def assign(key: str, value: Any) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """A change that sets all of array `key` to `value`."""
    return lambda head, arrays: arrays[key].fill(value)


DAMAGED: list[tuple[str, Callable[[dict[str, Any], dict[str, Any]], None]]] = [
    ("of this version", lambda head, arrays: head.update(schema="quanos.integers/0")),
    ("whose mantissa is not 0", assign("features.0/out_mantissa", 12)),
    ("or whose shift", assign("features.0/in_shift", -1)),
    ("weight codes outside -7 to 7", assign("features.0/codes", 9)),
    ("'features.0/codes' is missing", lambda head, arrays: arrays.pop("features.0/codes")),
    ("unknown kind 'softmax'", lambda head, arrays: head["operations"][2].update(kind="softmax")),
    ("does not come before", lambda head, arrays: head["operations"].pop(1)),
    (
        "15 offset for 16 channels",
        lambda head, arrays: arrays.update(
            {"features.0/offset": arrays["features.0/offset"][:15].copy()}
        ),
    ),
]


@pytest.mark.parametrize(("message", "change"), DAMAGED, ids=[m[:16] for m, _ in DAMAGED])
def test_inconsistent_files_are_refused(message: str, change: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(path, program_of(seen(build_model("vgg-small", (1, 8, 8), 10), (1, 8, 8), 4), (1, 8, 8)))
    load(path)
    with pytest.raises(ExportError, match=message):
        load(rewritten(path, change))


@pytest.mark.parametrize("length", [0, 7, 300, -1])
def test_truncated_files_are_refused(length: int, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save(path, program_of(seen(build_model("vgg-small", (1, 8, 8), 10), (1, 8, 8), 4), (1, 8, 8)))
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(ExportError, match="missing or damaged"):
        load(path)
