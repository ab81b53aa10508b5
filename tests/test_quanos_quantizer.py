"""Quantizers: codes, steps, gradients, ranges."""

from dataclasses import fields

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from quanos.config import Config
from quanos.quantizer import (
    ActivationQuantizer,
    WeightQuantizer,
)
from quanos.quantizers.clips import find_optimal_clip, optimal_clip
from quanos.quantizers.kinds import QUANTIZERS, quantizer_pair
from quanos.quantizers.lsq import unit
from quanos.quantizers.switches import at_rest, identity_gradients, unquantized

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
@pytest.mark.parametrize("name", QUANTIZERS)
def test_codes_times_step_is_the_output_to_the_last_bit(name: str, bits: int, kind: str) -> None:
    x = sample(bits, 64, 5, 3) * 3
    x = x.relu() if kind == "unsigned" else x
    weight, activation = quantizer_pair(name, bits)
    quantizer = weight if kind == "weight" else activation
    quantizer.start(x)
    quantizer(x)
    quantizer.eval()
    codes = quantizer.codes(x)
    assert torch.equal(codes * quantizer.step(x), quantizer(x))
    assert codes.min() >= quantizer.low
    assert codes.max() <= quantizer.top
    assert quantizer.signed == (kind != "unsigned")


@pytest.mark.parametrize(("bits", "share"), [(2, 1), (3, 1), (8, (15 / 127) ** 1.5)])
def test_the_learned_step_has_lsqs_gradient(bits: int, share: float) -> None:
    """Eq. 3 of the paper by automatic differentiation of its parts, scaled as in Section 2.2.

    Of codes above 15 by less, as the module says.
    """
    x, upstream = sample(1, 40), sample(2, 40)
    quantizer, _ = quantizer_pair("lsq", bits)
    quantizer.start(x)
    quantizer.learned.data *= 0.7  # so that some values clip
    step, top = quantizer.step(x).item(), quantizer.top
    v = x / step
    by_step = torch.where(v.abs() < top, v.round() - v, top * v.sign())
    expected = float((upstream * by_step).sum()) / (x.numel() * top) ** 0.5
    x.requires_grad_()
    (quantizer(x) * upstream).sum().backward()
    inside = torch.where(v.abs() < top, upstream, torch.zeros(()))
    assert torch.equal(x.grad, inside)
    before, rate = step, 1e-3
    quantizer.learned.data -= rate * quantizer.learned.grad
    moved = quantizer.step(x).item() - before  # what SGD makes of the step itself
    assert moved == pytest.approx(-rate * share * expected, rel=1e-2, abs=1e-9)


@pytest.mark.parametrize("bits", [2, 4, 8, 16])
def test_a_learned_range_follows_values_that_spread_and_does_not_run_away(bits: int) -> None:
    """At 16 bits it grew by hundreds in an epoch, and every width below rounded all to zero."""
    x = sample(0, 4000)
    quantizer, _ = quantizer_pair("lsq", bits)
    quantizer.start(x)
    first = quantizer.learned.item()
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.05, momentum=0.9, nesterov=True)
    for _ in range(60):
        optimizer.zero_grad()
        (10 * (quantizer(1.5 * x) - 1.5 * x).square().mean()).backward()
        optimizer.step()
        assert 0.9 < quantizer.learned.item() / first < 2
    assert quantizer.learned.item() / first > 1.2
    quantizer.bits = 3
    error, best = ((q(1.5 * x) - 1.5 * x).square().mean() for q in (quantizer, WeightQuantizer(3)))
    assert error < 4 * best  # rounded to zero it is twenty times as large


def test_learning_the_step_lowers_the_error_of_a_bad_one() -> None:
    x = sample(0, 4000)
    quantizer, _ = quantizer_pair("lsq", 3)
    quantizer.start(x * 4)  # four times too wide
    optimizer = torch.optim.SGD(quantizer.parameters(), lr=1.0)
    errors = []
    for _ in range(60):
        optimizer.zero_grad()
        error = (quantizer(x) - x).square().mean()
        (error * 100).backward()
        optimizer.step()
        errors.append(error.item())
    best = float((WeightQuantizer(3)(x) - x).square().mean())
    assert errors[0] > 3 * best
    assert errors[-1] < 1.2 * best


def test_the_learned_range_outlives_a_change_of_bits() -> None:
    quantizer, _ = quantizer_pair("lsq", 8)
    quantizer.start(sample(0, 100))
    spread = quantizer.step(sample(0, 1)) / unit(quantizer.top)
    quantizer.bits = 3
    assert torch.allclose(quantizer.step(sample(0, 1)) / unit(quantizer.top), spread)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_two_bits_leave_half_of_the_weights(name: str) -> None:
    """DoReFa's range was once the largest magnitude, in which most weights round to zero."""
    x = 0.05 * sample(0, 4000)
    weight, _ = quantizer_pair(name, 2)
    weight.start(x)
    assert 0.3 < float((weight.codes(x) == 0).float().mean()) < 0.6


def test_dorefa_gives_small_weights_more_codes_and_passes_the_gradient_through_tanh() -> None:
    x = torch.tensor([-2.0, -0.5, 0.1, 1.0, 2.0], requires_grad=True)
    quantizer, activation = quantizer_pair("dorefa", 4)
    codes = (x.detach().tanh() / x.detach().tanh().abs().max() * 7).round()
    assert torch.equal(quantizer.codes(x).float(), codes)
    quantizer(x).sum().backward()
    slope = (1 - x.detach().tanh() ** 2) * 2 / torch.tensor(2.0).tanh()
    torch.testing.assert_close(x.grad, slope)
    assert activation(torch.tensor([0.0, 0.31, 1.0, 7.0])).tolist() == pytest.approx(
        [0, 1 / 3, 1, 1], abs=0.04
    )


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_half_precision_stays_and_wide_codes_survive(name: str, kind: torch.dtype) -> None:
    x = sample(0, 64).to(kind).requires_grad_()
    for quantizer in quantizer_pair(name, 12):
        quantizer.start(x.detach())
        out = quantizer(x)
        out.sum().backward()
        assert out.dtype == x.grad.dtype == kind
        inside = x.abs() < quantizer.step(x.detach()) * quantizer.top
        if name == "uniform":  # as near as the type allows: no coarser codes
            exact = (quantizer.codes(x) * quantizer.step(x))[inside].to(kind)
            assert torch.equal(out[inside], exact)
            assert (out - x)[inside].abs().max() <= 2 * torch.finfo(kind).eps * x.abs().max()


def test_an_unknown_quantizer_is_refused() -> None:
    with pytest.raises(ValueError, match="there are uniform, lsq, dorefa"):
        quantizer_pair("ternary", 4)


def test_the_configuration_offers_every_quantizer() -> None:
    (key,) = (item for item in fields(Config) if item.name == "quantizer")
    assert key.metadata["choices"] == tuple(QUANTIZERS)


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


@pytest.mark.parametrize("name", QUANTIZERS)
def test_one_bit_weights_are_signs_times_the_mean_magnitude(name: str) -> None:
    quantizer, _ = quantizer_pair(name, 1)
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


@pytest.mark.parametrize("name", QUANTIZERS)
@pytest.mark.parametrize("bits", [1, 4])
def test_a_model_at_rest_gives_the_same_and_works_out_weights_once(name: str, bits: int) -> None:
    weight, activation = quantizer_pair(name, bits)
    model = torch.nn.ModuleList([weight, activation]).eval()
    w, x = sample(0, 30).requires_grad_(), sample(1, 8, 30).relu().requires_grad_()
    weight.start(w.detach())
    expected = activation(x) * weight(w)
    (gradient,) = torch.autograd.grad(expected.sum(), x)
    with at_rest(model), pytest.MonkeyPatch.context() as patch:
        for _ in range(2):
            found = activation(x) * weight(w)
            assert torch.equal(found, expected)
            assert torch.equal(torch.autograd.grad(found.sum(), x)[0], gradient)
            patch.setattr(type(weight), "step", None)  # a second step would be called
            patch.setattr(type(activation), "step", None)
    with torch.no_grad():
        w.mul_(3)
    assert not torch.equal(activation(x) * weight(w), expected)


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


def test_the_table_of_clips_holds_what_the_search_finds() -> None:
    for bits in (1, 2, 5, 11, 16):
        top = 2**bits - 1
        assert optimal_clip(top) == pytest.approx(find_optimal_clip(top), rel=1e-9)


@settings(max_examples=50)
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
