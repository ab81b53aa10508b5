"""Energy and memory: the paper's tables replayed, small networks by hand, what is refused."""

import dataclasses
from functools import cache

import pytest
import torch
from torch import nn

from flows.table import EnergyRow, EnergyTable, TableError, TableHeader
from quanos.allocation.prices import priced
from quanos.energy import (
    energy_costs,
    layer_shapes,
    linear_law,
    mac_energy,
    model_energy,
    price,
    resolve_bits,
)
from quanos.layers import quantize, set_bits
from quanos.models import build_model
from quanos.paper import TABLE_II_III, TABLE_V_VI

HYBRID = TABLE_V_VI.columns[3].bits


@cache
def network(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, (3, 32, 32), 10)


def table_of(
    energies_fj: dict[tuple[str, int], float], signed_fj: dict[tuple[str, int], float] | None = None
) -> EnergyTable:
    """A table with the energies given, by scheme and bits, all of it switching."""
    header = TableHeader(
        library="made up", library_sha256="0", nominal_vdd_v=1.0, temperature_c=25.0,
        netlist_sha256={}, tools={}, seed=0, vectors=1, delay_model="none",
        voltage_model="none", date="2026-01-01",
    )  # fmt: skip
    zeros = {f.name: 0 for f in dataclasses.fields(EnergyRow)}
    rows = [
        EnergyRow(**zeros | {
            "scheme": scheme, "w_bits": bits, "a_bits": bits, "stimulus": stimulus,
            "supply": "nominal", "origin": "literature", "macs_per_cycle": 1,
            "energy_fj": energy, "switching_fj": energy,
        })
        for stimulus, energies in (("uniform", energies_fj), ("uniform_signed", signed_fj or {}))
        for (scheme, bits), energy in energies.items()
    ]  # fmt: skip
    return EnergyTable(header, tuple(rows))


TABLE = table_of({("fixed", 16): 800.0, ("dvafs", 8): 200.0, ("dvafs", 16): 1000.0})


@pytest.mark.parametrize(
    ("name", "bits", "energy_mj", "memory_gbit"),
    [
        ("vgg19", 16, 1.4662, 0.3203),
        ("vgg19", 8, 0.7530, 0.1602),
        ("vgg19", 5, 0.4855, 0.1001),
        ("resnet18", 16, 1.3895, 0.1785),
        ("resnet18", 8, 0.7225, 0.0893),
        ("resnet18", 4, 0.3890, 0.0446),
        ("resnet18", HYBRID, 0.3070, 0.0241),
    ],
)
def test_the_audit_of_the_paper_replays(
    name: str, bits: int | tuple[int, ...], energy_mj: float, memory_gbit: float
) -> None:
    result = model_energy(network(name), (3, 32, 32), bits)
    assert result.energy_mj == pytest.approx(energy_mj, rel=1e-3)
    assert result.memory_gbit == pytest.approx(memory_gbit, rel=2e-3)  # printed to 4 decimals


@pytest.mark.parametrize("column", TABLE_II_III.columns[:3], ids=lambda column: column.name)
def test_table_iii_standard_rounds_to_what_is_printed(column) -> None:
    result = model_energy(network("vgg19"), (3, 32, 32), column.bits)
    assert result.energy_mj == pytest.approx(column.standard_mj, abs=0.005)
    assert result.memory_gbit == pytest.approx(column.memory_gbit, abs=0.005)


def test_without_shortcuts_the_hybrid_resnet_is_what_the_audit_says() -> None:
    model = network("resnet18")
    result = model_energy(model, (3, 32, 32), HYBRID)
    layers = [layer for layer in result.layers if layer.name not in model.feeds]
    assert sum(layer.energy_uj for layer in layers) == pytest.approx(303, rel=2e-3)
    assert sum(layer.memory_bits for layer in layers) == pytest.approx(0.0237e9, rel=1e-3)
    assert sum(layer.macs for layer in layers) == 549_126_144
    assert sum(layer.weights for layer in layers) == 10_987_200
    assert result.mean_bits == pytest.approx(TABLE_MEAN := 62 / 17)
    assert round(TABLE_MEAN, 2) == 3.65  # the mean that the paper states


def test_vgg19_has_the_audits_macs_and_weights() -> None:
    result = model_energy(network("vgg19"), (3, 32, 32), 16)
    assert result.macs == 398_131_200
    assert sum(layer.weights for layer in result.layers) == 20_018_880


# model, image, then for each counted layer N_A, N_C and weights, worked out by hand
HAND = [
    (lambda: nn.Conv2d(2, 3, 3), (2, 5, 7), [(70 + 54, 15 * 54, 54)]),
    (lambda: nn.Conv2d(2, 4, 3, stride=2, padding=1), (2, 4, 6), [(48 + 72, 6 * 72, 72)]),
    (lambda: nn.Conv2d(4, 4, 3, groups=4, padding=1), (4, 4, 4), [(64 + 36, 16 * 36, 36)]),
    (lambda: nn.Conv2d(4, 6, 1, groups=2), (4, 2, 3), [(24 + 12, 6 * 12, 12)]),
    (lambda: nn.Conv2d(1, 1, 3, dilation=2), (1, 6, 6), [(36 + 9, 4 * 9, 9)]),
    (
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(12, 5), nn.ReLU(), nn.Linear(5, 2)),
        (3, 2, 2),
        [(12 + 60, 60, 60)],
    ),
]


@pytest.mark.parametrize(("build", "image", "expected"), HAND)
def test_layers_count_as_by_hand(build, image, expected) -> None:
    shapes = layer_shapes(nn.Sequential(build()), image)
    assert [(s.accesses, s.macs, s.weights) for s in shapes] == expected


def test_a_layer_that_runs_twice_is_stored_once_and_computed_twice() -> None:
    conv = nn.Conv2d(2, 2, 1)
    (shape,) = layer_shapes(nn.Sequential(conv, conv), (2, 3, 3))
    assert (shape.weights, shape.accesses, shape.macs, shape.runs) == (4, 2 * (18 + 4), 72, 2)


def test_the_trace_leaves_the_model_as_it_was() -> None:
    model = build_model("vgg-small", (1, 8, 8), 10)
    model.features.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_shapes(model, (1, 8, 8))
    assert model.training
    assert not model.features.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_a_quantized_model_costs_what_its_float_twin_does() -> None:
    model = build_model("resnet-small", (1, 8, 8), 10)
    twin = quantize(model, 4)
    set_bits(twin, 4)
    assert model_energy(twin, (1, 8, 8), 4) == model_energy(model, (1, 8, 8), 4)


def test_both_readings_of_eq_5_by_hand() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3))  # N_A 124, N_C 810 on 2 x 5 x 7
    access = 124 * 2.5 * 8
    cases = {
        "measured": access + 810 * 0.2,
        "paper": access + 810 * (3.1 * 8 / 32 + 0.1) * 200 / 800,
    }
    for reading, picojoules in cases.items():
        result = model_energy(model, (2, 5, 7), 8, scheme="dvafs", reading=reading, table=TABLE)
        assert result.energy_mj == pytest.approx(picojoules * 1e-9)


def test_the_paper_reading_is_relative_to_the_conventional_16_bit_mac() -> None:
    assert mac_energy("fixed", "paper", TABLE)(16) == pytest.approx(linear_law(16))
    assert mac_energy("dvafs", "paper", TABLE)(16) == pytest.approx(linear_law(16) * 1000 / 800)


def test_another_table_gives_another_price() -> None:
    other = table_of({("dvafs", 8): 100.0})
    assert mac_energy("dvafs", table=other)(8) == mac_energy("dvafs", table=TABLE)(8) / 2


def test_the_shipped_table_prices_every_scheme_at_every_width() -> None:
    shapes = layer_shapes(network("vgg19"), (3, 32, 32))
    names = [shape.name for shape in shapes]
    for scheme in ("fixed", "dg", "dvafs"):
        mac = mac_energy(scheme)
        prices = [price(shapes, dict.fromkeys(names, k), mac).energy_mj for k in (1, 8, 16)]
        assert prices == sorted(prices)


SIGNED = table_of(
    {("fixed", 16): 800.0, ("dvafs", 8): 200.0}, {("fixed", 16): 880.0, ("dvafs", 8): 300.0}
)


class Signs(nn.Module):
    """A layer after nothing, after ReLU and pooling, after a layer, and after a sum of ReLUs."""

    def __init__(self) -> None:
        super().__init__()
        self.image, self.relu, self.bare, self.sum = (nn.Conv2d(2, 2, 1) for _ in range(4))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = nn.functional.max_pool2d(self.image(x).relu(), 1)
        x = self.bare(self.relu(x))
        x = nn.functional.relu6(x) + torch.cat([x, x], 1).clamp(min=0)[:, :2]
        out: torch.Tensor = self.sum(x)
        return out


@pytest.mark.parametrize("normalized", [False, True])
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_inputs_that_can_be_negative_are_found_by_structure(normalized, device) -> None:
    with torch.device(device):
        net = nn.Sequential(nn.BatchNorm2d(2) if normalized else nn.Identity(), Signs())
        shapes = layer_shapes(net, (2, 4, 4))
    signed = {shape.name.removeprefix("1.") for shape in shapes if shape.signed}
    assert signed == {"bare"} | ({"image"} if normalized else set())


def test_a_signed_input_is_priced_with_signed_operands_by_hand() -> None:
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 3, 3))  # N_A 124, N_C 810 on 2 x 5 x 7
    cases = {"measured": 0.3, "paper": linear_law(8) * 300 / 800}
    for reading, mac in cases.items():
        result = model_energy(model, (2, 5, 7), 8, scheme="dvafs", reading=reading, table=SIGNED)
        assert result.energy_mj == pytest.approx((124 * 2.5 * 8 + 810 * mac) * 1e-9)
        assert result.layers[0].signed
    with pytest.raises(TableError, match="uniform_signed"):
        model_energy(model, (2, 5, 7), 8, scheme="dvafs", table=TABLE)


def test_pricing_does_not_start_a_quantizers_statistics() -> None:
    model = quantize(build_model("vgg-small", (1, 8, 8), 3), 4)
    layer_shapes(model, (1, 8, 8))
    assert not any(q.seen for q in model.modules() if hasattr(q, "seen"))


def test_the_costs_of_a_budget_add_up_to_the_networks_energy() -> None:
    model = network("resnet18")
    shapes = layer_shapes(model, (3, 32, 32))
    mac = mac_energy("dvafs")
    costs = energy_costs(shapes, mac, model.feeds)
    assert len(costs) == 17
    bits = {name: 1 + place % 16 for place, name in enumerate(costs)}
    whole = model_energy(model, (3, 32, 32), bits, scheme="dvafs").energy_mj
    assert sum(costs[n][k - 1] for n, k in bits.items()) == pytest.approx(whole)


def test_what_the_table_lacks_is_told_scheme_by_scheme() -> None:
    model = build_model("vgg-small", (1, 8, 8), 3)
    bits = dict.fromkeys((shape.name for shape in layer_shapes(model, (1, 8, 8))), 16)
    one = table_of({("fixed", 16): 800.0}, {("fixed", 16): 880.0})
    result = priced(model, (1, 8, 8), bits, one)
    assert [row["scheme"] for row in result["energy"]] == ["standard", "fixed", "fixed"]
    assert set(result["energy_missing"]) == {"dg", "dvafs", "dvafs_st"}
    assert "no row for scheme dg" in result["energy_missing"]["dg"]
    assert priced(model, (1, 8, 8), bits, EnergyTable.load())["energy_missing"] == {}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"bits": 0}, "from 1 to 16, not 0"),
        ({"bits": True}, "not True"),
        ({"bits": {"0": 8.0}}, "not 8.0"),
        ({"bits": [8, 8]}, "2 widths are given for 1 layers"),
        ({"bits": {}}, "no bits are given for 0"),
        ({"bits": {"0": 8, "x": 8}}, "no layer 'x'; there are 0"),
        ({"scheme": "analog"}, "'analog' is unknown; there are standard, fixed, dg"),
        ({"scheme": "dg", "reading": "guess"}, "'guess' is unknown; there are paper, measured"),
        ({"input_shape": (7, 5, 5)}, "cannot take an image of 7 x 5 x 5"),
    ],
)
def test_what_cannot_be_priced_says_why(options: dict, words: str) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3))
    setting = {"input_shape": (2, 5, 5), "bits": 8, "table": TABLE} | options
    with pytest.raises(ValueError, match=words):
        model_energy(model, **setting)


def test_a_missing_row_and_a_model_without_layers_are_refused() -> None:
    with pytest.raises(TableError, match="no row for scheme dvafs, w_bits 5"):
        model_energy(nn.Sequential(nn.Conv2d(1, 1, 1)), (1, 2, 2), 5, scheme="dvafs", table=TABLE)
    with pytest.raises(ValueError, match="nothing to count"):
        layer_shapes(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), (1, 2, 2))


def test_bits_by_name_by_order_and_with_shortcuts_left_out() -> None:
    names, feeds = ["a", "b", "s"], {"s": "b"}
    whole = {"a": 8, "b": 4, "s": 4}
    for bits in ([8, 4], [8, 4, 4], {"a": 8, "b": 4}, whole):
        assert resolve_bits(names, bits, feeds) == whole
    assert resolve_bits(names, [8, 4, 2], feeds) == whole | {"s": 2}
