"""Every network of the zoo all the way: quantize, train, sense, assign, price, read out."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from quanos import build_model, quantize
from quanos.ans import adversarial_noise_sensitivity
from quanos.energy import energy_costs, layer_shapes, mac_energy, model_energy, resolve_bits
from quanos.integer.graph import trace
from quanos.integer.program import lower
from quanos.layers import get_bits, model_codes, set_bits
from quanos.models import MODELS, ConvNet
from quanos.policies import Budget, assign
from quanos.sensing.measurement import Measurement

SMALLEST = {"vgg-small": 8, "resnet-small": 8}


def narrowed(name: str) -> tuple[ConvNet, tuple[int, int, int]]:
    """The network for the smallest image that it takes."""
    side = SMALLEST.get(name, 32 if name.startswith("vgg") else 8)
    torch.manual_seed(0)
    return build_model(name, (1, side, side), 3), (1, side, side)


@pytest.mark.parametrize("name", MODELS)
def test_a_network_goes_all_the_way(name: str) -> None:
    net, shape = narrowed(name)
    model = quantize(net, 8)
    images, labels = torch.rand(2, *shape), torch.arange(2)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    functional.cross_entropy(model(images), labels).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
    nn.utils.clip_grad_norm_(model.parameters(), 1)  # norms over two numbers explode
    optimizer.step()

    ans = adversarial_noise_sensitivity(model, [(images, labels)])
    assert list(ans) == list(get_bits(model))
    shapes = layer_shapes(model, shape)
    assert {one.name for one in shapes} == set(ans)
    costs = energy_costs(shapes, mac_energy("dvafs"), model.feeds)
    limit = 0.5 * sum(row[15] for row in costs.values())
    budget = Budget(energy_mj=limit, costs_mj=costs)
    bits = assign("ans", Measurement(kind="ans", layers=ans).without(model.feeds), budget)
    bits = resolve_bits(list(ans), bits, model.feeds)
    energy = model_energy(model, shape, bits, scheme="dvafs").energy_mj
    assert 0.95 * limit < energy <= limit * (1 + 1e-9)

    set_bits(model, bits)
    codes = model_codes(model, images)
    assert set(codes) == set(bits)
    signed = {one.name: one.signed for one in shapes}
    for layer, row in codes.items():
        top = max(2 ** (bits[layer] - 1) - 1, 1)
        assert row["w"].abs().max() <= top
        assert row["a"].max() <= (top if row["a_signed"] else 2 ** bits[layer] - 1)
        assert row["a_signed"] == signed[layer]  # what structure says, the data says too
        assert row["w_step"] > 0
        assert row["a_step"] > 0
    program = lower(trace(model.eval()), shape)  # what the hardware would run
    assert {layer.name for layer in program.layers} == set(bits)
    for layer in program.layers:
        assert layer.attributes["bits"] == bits[layer.name]
        assert np.array_equal(layer.arrays["codes"], codes[layer.name]["w"].numpy())
