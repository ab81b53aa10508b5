"""Quantizers: codes, steps, gradients, ranges."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quanos.quantizer import (
    ActivationQuantizer,
    WeightQuantizer,
    identity_gradients,
    optimal_clip,
    unquantized,
)

WIDTHS = range(1, 17)


def sample(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def activation_quantizer(bits: int, x: torch.Tensor) -> ActivationQuantizer:
    """A quantizer that has seen `x`, in evaluation mode."""
    quantizer = ActivationQuantizer(bits)
    quantizer(x)
    return quantizer.eval()


@pytest.mark.parametrize("bits", WIDTHS)
@pytest.mark.parametrize("kind", ["weight", "unsigned", "signed"])
def test_codes_times_step_is_the_output_to_the_last_bit(bits: int, kind: str) -> None:
    x = sample(bits, 64, 5, 3) * 3
    x = x.relu() if kind == "unsigned" else x
    quantizer = WeightQuantizer(bits) if kind == "weight" else activation_quantizer(bits, x)
    codes = quantizer.codes(x)
    assert torch.equal(codes * quantizer.step(x), quantizer(x))
    assert codes.min() >= quantizer.low
    assert codes.max() <= quantizer.top
    assert quantizer.signed == (kind != "unsigned")


@pytest.mark.parametrize(
    ("bits", "signed", "low", "top"),
    [
        (1, True, -1, 1),
        (2, True, -1, 1),
        (8, True, -127, 127),
        (1, False, 0, 1),
        (16, False, 0, 65535),
    ],
)
def test_code_ranges_of_decision_0001(bits: int, signed: bool, low: int, top: int) -> None:
    quantizer = ActivationQuantizer(bits, signed=signed)
    assert (quantizer.low, quantizer.top) == (low, top)


def test_one_bit_weights_are_signs_times_the_mean_magnitude() -> None:
    quantizer = WeightQuantizer(1)
    x = torch.tensor([0.5, -1.0, 0.0, 3.0])
    assert quantizer(x).tolist() == [1.125, -1.125, 1.125, 1.125]


def test_ties_round_to_even() -> None:
    quantizer = ActivationQuantizer(8, signed=True)
    quantizer.peak.fill_(127.0)
    quantizer.spread.fill_(1e6)
    quantizer._ready = True
    quantizer.eval()
    assert quantizer(torch.tensor([0.5, 1.5, 2.5, -0.5, -1.5])).tolist() == [0, 2, 2, 0, -2]


def test_gradient_passes_inside_the_range_and_everywhere_by_identity() -> None:
    x = torch.tensor([-0.5, 0.25, 1.0, 9.0], requires_grad=True)
    quantizer = activation_quantizer(4, torch.full((8,), 1.0))
    for context, expected in ((unclipped, [1, 1, 1, 1]), (plain, [0, 1, 1, 0])):
        x.grad = None
        with context(quantizer):
            quantizer(x).sum().backward()
        assert x.grad is not None
        assert x.grad.tolist() == expected


unclipped = identity_gradients


def plain(quantizer: ActivationQuantizer) -> torch.autograd.set_grad_enabled:
    return torch.enable_grad()


def test_unquantized_is_the_identity_and_is_undone() -> None:
    quantizer = WeightQuantizer(2)
    x = sample(0, 50)
    with unquantized(quantizer):
        assert torch.equal(quantizer(x), x)
    assert not torch.equal(quantizer(x), x)


def test_the_range_follows_training_batches_and_rests_in_evaluation() -> None:
    quantizer = ActivationQuantizer(4)
    quantizer(sample(0, 32, 4).relu())
    first = quantizer.peak.clone()
    quantizer.eval()(sample(1, 32, 4).relu() * 10)
    assert torch.equal(quantizer.peak, first)
    quantizer.train()(sample(1, 32, 4).relu() * 10)
    assert quantizer.peak > first


def test_a_saved_quantizer_keeps_its_range_and_sign() -> None:
    old = activation_quantizer(4, sample(3, 32, 4))
    new = ActivationQuantizer(4)
    new.load_state_dict(old.state_dict())
    x = sample(4, 32, 4)
    assert new.signed
    assert torch.equal(new.eval()(x), old(x))


@pytest.mark.parametrize("top", [1, 3, 7, 15, 127])
def test_the_optimal_clip_beats_its_neighbours(top: int) -> None:
    x = sample(5, 200_000)

    def error(clip: float) -> float:
        step = clip / top
        return float(((x / step).round().clamp(-top, top) * step - x).square().mean())

    clip = optimal_clip(top)
    assert error(clip) < min(error(0.9 * clip), error(1.1 * clip))


@settings(max_examples=50, deadline=None)
@given(
    st.integers(1, 16),
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40),
)
def test_any_weights_give_finite_values_within_half_a_step(bits: int, values: list[float]) -> None:
    x = torch.tensor(values, dtype=torch.float32)
    quantizer = WeightQuantizer(bits)
    y, step = quantizer(x), quantizer.step(x)
    assert torch.isfinite(y).all()
    inside = x.abs() <= step * quantizer.top
    if bits > 1:
        assert ((y - x).abs()[inside] <= step * 0.5001).all()


@pytest.mark.parametrize("bits", [0, 17, -1, 2.5, True, "4"])
def test_wrong_bits_are_refused(bits: object) -> None:
    with pytest.raises(ValueError, match=r"whole number from 1 to 16"):
        WeightQuantizer(bits)  # type: ignore[arg-type]
