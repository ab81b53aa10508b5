"""Activation density, Hessian trace and Lipschitz constants against their definitions."""

from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from quanos import build_model, quantize
from quanos.ans import activations
from quanos.layers import quantized_layers
from quanos.quantizers.switches import unquantized
from quanos.sensing.hessian import hessian_traces, weight_errors
from quanos.sensing.lipschitz import (
    CLIPS,
    folded_scales,
    lipschitz_constants,
    quantized_weight,
)
from quanos.sensing.measurement import KINDS, WITH_LOSSES
from quanos.sensing.sensitivities import measure
from quanos.sensing.spectral import spectral_norm


def tiny() -> tuple[nn.Module, Tensor, Tensor]:
    """Smooth, so that second derivatives are not all of the softmax's making."""
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.Tanh(), nn.Conv2d(2, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    model = quantize(net, 8)
    x, labels = torch.rand(6, 1, 4, 4), torch.arange(6) % 3
    model(x)
    return model.eval(), x, labels


def small(name: str = "vgg-small") -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = quantize(build_model(name, (1, 8, 8), 3), 8)
    x, labels = torch.rand(6, 1, 8, 8), torch.arange(6) % 3
    model(x)
    return model, x, labels


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_measures_every_layer_and_leaves_nothing_behind(kind: str) -> None:
    model, x, labels = small("resnet-small")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    frozen = next(model.parameters()).requires_grad_(False)
    got = measure(kind, model, [(x, labels)])
    assert got.kind == kind
    assert list(got.layers) == list(quantized_layers(model))
    assert set(got.losses) == (set(got.layers) if kind in WITH_LOSSES else set())
    assert max(got.layers.values()) > 0
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert model.training
    assert not frozen.requires_grad
    assert all(p.grad is None for p in model.parameters())
    assert {layer.bits for layer in quantized_layers(model).values()} == {8}
    with pytest.raises(ValueError, match="at least one image"):
        measure(kind, model, [])


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="there are ans, activation-density, hessian, lipschitz"):
        measure("taste", *tiny()[:1], [])


@pytest.mark.parametrize("kind", ["activation-density", "lipschitz"])
def test_the_size_of_a_batch_changes_nothing(kind: str) -> None:
    model, x, labels = small()
    whole = measure(kind, model, [(x, labels)])
    parts = measure(kind, model, zip(x.split(2), labels.split(2), strict=True))
    assert parts.layers == pytest.approx(whole.layers, rel=1e-4)
    for name, row in whole.losses.items():
        assert parts.losses[name] == pytest.approx(row, rel=0.02)


def test_activation_density_is_the_share_of_what_is_not_zero() -> None:
    model, x, labels = small()
    got = measure("activation-density", model, [(x, labels)]).layers
    expected = {n: float((a != 0).double().mean()) for n, a in activations(model, x).items()}
    assert got == pytest.approx(expected)
    assert all(0 < value < 1 for value in got.values())


def test_hutchinsons_trace_is_the_hessians() -> None:
    model, x, labels = tiny()
    got = hessian_traces(model, [(x, labels)], draws=400)
    for name, layer in quantized_layers(model).items():
        own = layer.weight

        def loss(weight: Tensor, name: str = name, shape=own.shape) -> Tensor:
            changed = {f"{name}.weight": weight.reshape(shape)}
            return functional.cross_entropy(torch.func.functional_call(model, changed, x), labels)

        with unquantized(model):
            exact = torch.autograd.functional.hessian(loss, own.detach().flatten()).trace()
        assert got.layers[name] * own.numel() == pytest.approx(float(exact), rel=0.1)
        assert got.losses[name] == pytest.approx(
            [got.layers[name] * error for error in weight_errors(layer)]
        )
    assert hessian_traces(model, [(x, labels)]) == hessian_traces(model, [(x, labels)])


def test_a_bit_more_makes_a_weight_error_about_a_quarter() -> None:
    layer = next(iter(quantized_layers(small()[0]).values()))
    errors = weight_errors(layer)
    assert all(3 < a / b < 5.5 for a, b in pairwise(errors[5:13]))


LINEAR_MAPS = [
    (lambda: nn.Conv2d(2, 3, 3, padding=1), (2, 5, 6)),
    (lambda: nn.Conv2d(2, 4, 3, stride=2, dilation=2, padding=2), (2, 7, 5)),
    (lambda: nn.Conv2d(4, 4, 3, groups=2), (4, 4, 4)),
    (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1, padding_mode="circular"), (4, 4, 4)),
    (lambda: nn.Linear(6, 9), (6,)),
]


@pytest.mark.parametrize(("build", "shape"), LINEAR_MAPS)
@pytest.mark.parametrize("kind", [torch.float32, torch.float64])
def test_the_largest_singular_value_is_found(build, shape, kind) -> None:
    torch.manual_seed(1)
    layer = build().to(kind)
    layer.bias = None
    size = int(torch.tensor(shape).prod())
    basis = torch.eye(size, dtype=kind).reshape(size, *shape)
    start = torch.rand(1, *shape, dtype=kind) - 0.5
    for weight in (layer.weight.detach(), layer.weight.detach().sign(), 0 * layer.weight.detach()):

        def apply(x: Tensor, weight: Tensor = weight) -> Tensor:
            return torch.func.functional_call(layer, {"weight": weight}, x)

        matrix = apply(basis).reshape(size, -1)
        exact = float(torch.linalg.matrix_norm(matrix, 2))
        assert spectral_norm(apply, start) == pytest.approx(exact, rel=1e-2)
        # More steps than the map has dimensions change nothing.
        assert spectral_norm(apply, start, 100) == pytest.approx(exact, rel=1e-5)


def test_the_norm_of_rounding_errors_is_found_where_power_iteration_is_slow() -> None:
    """Independent errors: singular values that crowd below the largest one."""
    torch.manual_seed(0)
    matrix = torch.rand(300, 200) - 0.5
    exact = float(torch.linalg.matrix_norm(matrix, 2))
    found = spectral_norm(lambda x: x @ matrix.T, torch.rand(1, 200) - 0.5)
    assert 0.99 * exact < found <= exact * (1 + 1e-6)


def test_a_layers_norm_has_the_batch_norm_in_it_and_16_bits_lose_almost_nothing() -> None:
    model, x, labels = small()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 2)
            module.running_var.uniform_(0.5, 2)
    got = lipschitz_constants(model, [(x, labels)])
    scales = folded_scales(model, x)
    assert set(scales) == set(quantized_layers(model))
    norm = model.features[1]
    expected = norm.weight / (norm.running_var + norm.eps).sqrt()
    torch.testing.assert_close(scales["features.0"], expected.detach())
    norm.weight.data.mul_(2)
    again = lipschitz_constants(model, [(x, labels)])
    assert again.layers["features.0"] == pytest.approx(2 * got.layers["features.0"], rel=1e-3)
    for row in got.losses.values():
        assert row[15] < row[5] < row[2]


def test_clipping_to_nothing_is_the_worst_choice_although_its_norm_is_the_least() -> None:
    model, x, labels = small()
    fine = lipschitz_constants(model, [(x, labels)])
    layer = quantized_layers(model)["features.0"]
    assert all(row[7] < 1 for row in fine.losses.values())  # 1 is what weights of zero would have
    for clip in CLIPS:
        error = (quantized_weight(layer, 12, clip) - layer.weight).norm() / layer.weight.norm()
        assert error < 0.2
    more = lipschitz_constants(model, [(x, labels)], clips=tuple(CLIPS))
    for name, row in more.losses.items():
        assert all(a <= b * (1 + 1e-6) for a, b in zip(row, fine.losses[name], strict=True))
    with pytest.raises(ValueError, match="there are own, max, percentile"):
        lipschitz_constants(model, [(x, labels)], clips=("mean",))
