"""Quantized layers and `quantize` on models of any shape."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.utils._python_dispatch import TorchDispatchMode

from quanos.ans import activations
from quanos.energy import layer_shapes
from quanos.integer.tracing import trace
from quanos.layers import (
    get_bits,
    layer_codes,
    model_codes,
    quantize,
    quantized_layers,
    set_bits,
)
from quanos.models import build_model
from quanos.quantizers.kinds import QUANTIZERS


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


class Functional(nn.Module):
    """A convolution with a weight of its own, and an attention-like product without any."""

    def __init__(self, product: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 1)
        if not product:
            self.kernel = nn.Parameter(torch.rand(4, 4, 1, 1))
        self.product = product

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        return x @ x.mT if self.product else nn.functional.conv2d(x, self.kernel)


class Wider(nn.Conv2d):
    pass


def normed(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    return nn.Sequential(norm(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 4, 1))


def hooked() -> nn.Module:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Conv2d(4, 4, 1))
    model[0].register_forward_hook(lambda *_: None)
    return model


def with_old_norm(norm: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():  # torch asks for the parametrizations; people still have these
        warnings.simplefilter("ignore")
        return normed(norm)


NAMED = [
    (
        lambda: nn.Sequential(nn.Conv1d(1, 2, 3), nn.Linear(2, 2)),
        r"not 0 \(Conv1d\); name them, or",
    ),
    (
        lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.ConvTranspose2d(2, 2, 2)),
        r"1 \(ConvTranspose2d",
    ),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.Conv3d(2, 2, 2)), r"1 \(Conv3d"),
    (lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.LSTM(2, 2)), r"1 \(LSTM"),
    (lambda: nn.TransformerEncoderLayer(8, 2), r"self_attn \(MultiheadAttention\)"),
    (lambda: nn.Sequential(Wider(3, 4, 1), nn.Linear(4, 2)), r"0 \(Wider, a subclass of Conv2d\)"),
    (lambda: nn.Sequential(nn.LazyConv2d(4, 1)), r"0 \(LazyConv2d, a subclass"),
    (lambda: normed(parametrizations.weight_norm), "0 .* whose weight is computed"),
    (lambda: normed(parametrizations.spectral_norm), "0 .* whose weight is computed"),
    (lambda: with_old_norm(nn.utils.weight_norm), "0 .* whose weight is computed"),
    (lambda: with_old_norm(nn.utils.spectral_norm), "0 .* whose weight is computed"),
    (lambda: normed(lambda m: prune.l1_unstructured(m, "weight", 0.5)), "0 .* weight is computed"),
    (hooked, r"0 \(a Conv2d with hooks"),
    (lambda: Functional(product=False), r"kernel \(a parameter of Functional, used by its code\)"),
    (lambda: nn.Sequential(nn.Linear(3, 2)), "no Conv2d or Linear to quantize besides"),
    (lambda: quantize(Branches(), 4), "quantized already .*set_bits"),
]


@pytest.mark.parametrize(("build", "message"), NAMED)
def test_what_cannot_be_quantized_is_named(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        quantize(build(), 4)


def test_an_example_finds_functions_that_multiply() -> None:
    example = torch.rand(1, 3, 4, 4)
    with pytest.raises(ValueError, match="matmul in the code of the model"):
        quantize(Functional(product=True), 4, example=example)
    kept = quantize(Functional(product=False), 4, keep_float=("kernel",), example=example)
    assert list(get_bits(kept)) == ["stem"]


@pytest.mark.parametrize(
    ("build", "kept", "left"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv1d(1, 1, 1))), "1", ["0"]),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.TransformerEncoderLayer(8, 2)), "1", ["0"]),
        (lambda: nn.Sequential(nn.Conv2d(3, 4, 1), Wider(4, 4, 1)), "1", ["0"]),
        (lambda: nn.Conv2d(3, 4, 1), "bias", [""]),
    ],
)
def test_what_is_kept_in_float_covers_what_is_inside_it(build, kept, left) -> None:
    assert list(get_bits(quantize(build(), 4, keep_float=(kept,)))) == left


class Residual(nn.Module):
    """A residual block of somebody else: projection by pooling and 1x1, functional ReLU."""

    def __init__(self, identity: bool = False) -> None:
        super().__init__()
        self.classifier = nn.Linear(6, 2)  # registered first, runs last
        self.gate = nn.Linear(6, 6)
        self.project = nn.Conv2d(4, 6, 1)
        self.stem = nn.Conv2d(3, 4, 3, padding=1)
        self.first = nn.Conv2d(4, 6, 3, padding=1, stride=2)
        self.second = nn.Conv2d(6, 6, 3, padding=1)
        self.third = nn.Conv2d(6, 6, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.stem(x))
        y = self.second(torch.relu(self.first(x)))
        y += self.project(nn.functional.avg_pool2d(x, 2))
        y = torch.relu(y)
        y = torch.relu(y + self.third(y)).mean((2, 3))
        out: torch.Tensor = self.classifier(torch.sigmoid(self.gate(y)))
        return out


def test_an_example_finds_the_shortcut_and_the_classifier_of_a_foreign_model() -> None:
    model = quantize(Residual(), 8, example=torch.rand(2, 3, 8, 8))
    assert model.feeds == {"project": "second"}
    assert "gate" in get_bits(model)
    assert "classifier" not in get_bits(model)
    set_bits(model, {"second": 3})
    assert {name for name, k in get_bits(model).items() if k == 3} == {"project", "second"}


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "mobilenetv2", "vgg-small"])
def test_tracing_finds_the_shortcuts_that_the_zoo_states(name: str) -> None:
    with torch.device("meta"):
        model = build_model(name, (3, 32, 32), 10)
        told = trace(model, torch.zeros(1, 3, 32, 32))
    assert told.feeds == model.feeds
    assert not told.outside
    signed = {layer for layer, value in told.signed.items() if value}
    first = next(iter(told.signed))
    if name == "mobilenetv2":  # its bottlenecks are linear: what follows them sees both signs
        assert first in signed
        assert len(signed) == 18
    else:
        assert signed == {first}


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_one_bit_pads_with_a_code_that_exists(quantizer: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 3, 3, padding=1), nn.Flatten(), nn.Linear(48, 2))
    model = quantize(net, 1, quantizer=quantizer)
    x = torch.randn(4, 2, 4, 4)
    model(x)
    layer, codes = model.eval()[0], model_codes(model, x)["0"]
    assert codes["a_pad"] == 1
    assert set(codes["a"].unique().tolist()) == {-1, 1}
    padded = nn.functional.pad(codes["a"].double(), (1, 1, 1, 1), value=codes["a_pad"])
    integers = nn.functional.conv2d(padded, codes["w"].double())
    expected = integers * codes["w_step"] * codes["a_step"] + layer.bias[:, None, None]
    assert torch.allclose(layer(x).double(), expected, atol=1e-5)


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_codes_of_every_layer_can_be_read_out(quantizer: str) -> None:
    model = quantize(build_model("resnet-small", (1, 8, 8), 3), 3, quantizer=quantizer)
    images = torch.rand(2, 1, 8, 8)
    model(images)
    codes = model_codes(model, images)
    assert set(codes) == set(get_bits(model))
    assert all(row["a_signed"] == (name == "features.0") for name, row in codes.items())
    assert model.training
    assert not any(m._forward_pre_hooks for m in model.modules())


@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_bits_change_under_every_quantizer_and_training_goes_on(quantizer: str) -> None:
    model = quantize(Branches(), 16, quantizer=quantizer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for bits in (16, {"left": 1, "stem": 5, "right": 2}, 1, 8):
        set_bits(model, bits)
        optimizer.zero_grad()
        model(image()).square().sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        optimizer.step()
        assert set(optimizer.state) == set(model.parameters())


class Forbidden(TorchDispatchMode):
    """Refuses what makes the host wait for the device, and quantile's sort."""

    NAMES = ("_local_scalar_dense", "nonzero", "equal", "is_nonzero", "sort", "kthvalue", "unique")

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        assert not any(word in name for word in self.NAMES), f"a training step calls {name}"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("bits", [1, 4, 16])
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_training_step_does_not_wait_for_the_device(quantizer: str, bits: int) -> None:
    model = quantize(Branches(), bits, quantizer=quantizer)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    model(image())  # the first batch decides on signed codes, once
    with Forbidden():
        model(image(1)).square().sum().backward()
        optimizer.step()
    with pytest.raises(AssertionError, match="_local_scalar_dense"), Forbidden():
        torch.ones(()).item()


@pytest.mark.parametrize(
    ("bits", "message"),
    [({"nose": 3}, "no quantized layer nose; it has stem, left"), ({"stem": 17}, "from 1 to 16")],
)
def test_wrong_bits_change_nothing(bits: dict[str, int], message: str) -> None:
    model = quantize(Branches(), 4)
    with pytest.raises(ValueError, match=message):
        set_bits(model, bits)
    assert set(get_bits(model).values()) == {4}


@settings(max_examples=25)
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


@pytest.mark.filterwarnings("ignore")  # the compiler's own, about its own code
@pytest.mark.parametrize("quantizer", QUANTIZERS)
def test_a_quantized_model_compiles_to_one_graph(quantizer: str) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(324, 2))
    model = quantize(net, 4, quantizer=quantizer, classifier=True)
    model(image())  # the first batch decides on signed codes
    twin = copy.deepcopy(model)
    compiled = torch.compile(twin, backend="aot_eager", fullgraph=True)
    for bits in (4, 1):
        set_bits(model, bits)
        set_bits(twin, bits)
        outputs = [one(image(1)) for one in (model, compiled)]
        assert torch.allclose(*outputs)
        for out in outputs:
            out.square().sum().backward()
    for mine, other in zip(model.parameters(), twin.parameters(), strict=True):
        assert torch.allclose(mine.grad, other.grad, rtol=1e-4, atol=1e-6)


OPERATIONS = st.sampled_from(
    ["conv", "grouped", "depthwise", "dilated", "strided", "norm", "relu", "cat", "add", "shortcut"]
)


class Unplanned(nn.Module):
    """A network of operations drawn by chance, all with functional glue."""

    def __init__(self, operations: list[str], width: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.operations = operations
        self.layers = nn.ModuleList([nn.Conv2d(3, width, 3, padding=1)])
        for operation in operations:
            self.layers.append(self._layer(operation, width))
        self.hidden = nn.Linear(width, 5)
        self.out = nn.Linear(5, 3)

    def _layer(self, operation: str, width: int) -> nn.Module:
        made = {
            "grouped": lambda: nn.Conv2d(width, width, 3, padding=1, groups=2),
            "depthwise": lambda: nn.Conv2d(width, width, 3, padding="same", groups=width),
            "dilated": lambda: nn.Conv2d(width, width, 3, padding=2, dilation=2),
            "strided": lambda: nn.Conv2d(width, width, (3, 1), stride=(2, 1), padding=1),
            "norm": lambda: nn.BatchNorm2d(width),
            "relu": nn.Identity,
            "cat": lambda: nn.Conv2d(2 * width, width, 1, bias=False),
        }
        return made.get(operation, lambda: nn.Conv2d(width, width, 1))()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.layers[0](x))
        for operation, layer in zip(self.operations, list(self.layers)[1:], strict=True):
            if operation == "relu":
                x = x.relu()
            elif operation == "cat":
                x = layer(torch.cat([x, x * 0.5], 1))
            elif operation in ("add", "shortcut"):
                x = x + layer(x)
            else:
                x = layer(x)
        x = torch.relu(self.hidden(x.mean((2, 3))))
        out: torch.Tensor = self.out(x)
        return out


@settings(max_examples=20)
@given(
    operations=st.lists(OPERATIONS, max_size=6),
    half=st.integers(1, 3),
    bits=st.integers(1, 16),
    quantizer=st.sampled_from(sorted(QUANTIZERS)),
)
def test_networks_drawn_by_chance_go_all_the_way(operations, half, bits, quantizer) -> None:
    net, images = Unplanned(operations, 2 * half), torch.rand(4, 3, 12, 12)
    model = quantize(net, bits, quantizer=quantizer, example=images)
    names = [n for n, m in net.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert list(get_bits(model)) == [name for name in names if name != "out"]
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
    for width in (bits, 17 - bits):
        set_bits(model, width)
        optimizer.zero_grad()
        model(images).square().sum().backward()
        optimizer.step()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    shapes = {shape.name: shape for shape in layer_shapes(model, images.shape[1:])}
    codes = model_codes(model, images)
    assert set(shapes) == set(codes) == set(get_bits(model))
    for name, row in codes.items():  # structure may not know better than the data, but never less
        assert shapes[name].signed or not row["a_signed"]
    ans = activations(model, images)
    assert set(ans) == set(get_bits(model))


def test_the_example_of_the_documentation_does_what_it_says(capsys) -> None:
    page = Path(__file__).resolve().parent.parent / "docs" / "quantization.md"
    code = page.read_text(encoding="utf-8").partition("```python\n")[2].partition("```")[0]
    exec(code, {})
    assert code.rstrip().rpartition("# ")[2].startswith(capsys.readouterr().out.strip())


def test_shortcuts_follow_the_layer_they_feed() -> None:
    model = build_model("resnet-small", (1, 8, 8), 3)
    quantized = quantize(model, 8)
    shortcut, fed = next(iter(model.feeds.items()))
    set_bits(quantized, {fed: 3})
    assert {name for name, k in get_bits(quantized).items() if k == 3} == {shortcut, fed}
    set_bits(quantized, {shortcut: 5})  # one that is named goes its own way
    assert (get_bits(quantized)[shortcut], get_bits(quantized)[fed]) == (5, 3)
