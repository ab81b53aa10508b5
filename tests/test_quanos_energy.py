"""Energy and memory against the paper's own numbers, hand-made tables and counts by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from flows.table import EnergyRow, EnergyTable, TableError, TableHeader
from quanos.energy import layer_shapes, model_energy
from quanos.models import build_model
from quanos.paper import TABLE_II_III, TABLE_V_VI

CIFAR = (3, 32, 32)


def row(scheme: str, bits: int, energy_fj: float, supply: str = "nominal") -> EnergyRow:
    return EnergyRow(
        scheme=scheme, w_bits=bits, a_bits=bits, stimulus="uniform", supply=supply,
        energy_fj=energy_fj, switching_fj=energy_fj, internal_fj=0, clock_fj=0, leakage_fj=0,
        glitch_fj=0, ci95_fj=0, macs_per_cycle=1, critical_path_ps=1, clock_ps=1, vdd_v=1,
        area_um2=1, cells=1, origin="literature",
    )  # fmt: skip


@pytest.fixture(scope="module")
def table() -> EnergyTable:
    header = TableHeader(
        library="none", library_sha256="", nominal_vdd_v=1, temperature_c=25, netlist_sha256={},
        tools={}, seed=0, vectors=0, delay_model="", voltage_model="", date="",
    )  # fmt: skip
    rows = [row("fixed", 16, 1000), row("dg", 16, 1200), row("dg", 8, 400), row("dg", 5, 200)]
    return EnergyTable(header, (*rows, row("dg", 8, 100, "scaled")))


def network(name: str) -> nn.Module:
    with torch.device("meta"):
        return build_model(name, CIFAR, 10)


# Audit of the paper, items 1 and 2: Tables II/III and V/VI recomputed, shortcuts counted.
@pytest.mark.parametrize(
    ("name", "bits", "energy_mj", "memory_gbit"),
    [
        ("vgg19", 16, 1.4662, 0.3203),
        ("vgg19", 8, 0.7530, 0.1602),
        ("vgg19", 5, 0.4855, 0.1001),
        ("resnet18", 16, 1.3895, 0.1785),
        ("resnet18", 8, 0.7225, 0.0893),
        ("resnet18", 4, 0.3890, 0.0446),
        ("resnet18", TABLE_V_VI.columns[3].bits, 0.307, 0.0241),
    ],
)
def test_the_papers_standard_energies(
    name: str, bits: int | tuple[int, ...], energy_mj: float, memory_gbit: float
) -> None:
    cost = model_energy(network(name), CIFAR, bits)
    assert cost.energy_mj == pytest.approx(energy_mj, rel=1e-3)
    assert cost.memory_gbit == pytest.approx(memory_gbit, rel=2e-3)


@pytest.mark.parametrize(
    ("name", "macs", "weights"),
    [
        ("vgg19", 398_131_200, 20_018_880),
        ("resnet18", 555_417_600, 11_159_232),  # 17 of 3x3 and the three 1x1 shortcuts
    ],
)
def test_macs_and_weights_of_the_papers_networks(name: str, macs: int, weights: int) -> None:
    cost = model_energy(network(name), CIFAR, 16)
    assert (cost.macs, sum(layer.weights for layer in cost.layers)) == (macs, weights)


def test_vgg19_hybrid_row_cannot_be_replayed() -> None:
    """Audit, item 3: 17 widths for 16 convolutions, and no omission gives the printed numbers."""
    printed = TABLE_II_III.columns[3].bits
    assert isinstance(printed, tuple)
    model = network("vgg19")
    with pytest.raises(ValueError, match="17 widths are given for 16 layers"):
        model_energy(model, CIFAR, printed)
    costs = [model_energy(model, CIFAR, printed[:i] + printed[i + 1 :]) for i in range(17)]
    energies, memories = [c.energy_mj for c in costs], [c.memory_gbit for c in costs]
    assert (round(min(energies), 3), round(max(energies), 3)) == (0.469, 0.518)
    assert (round(min(memories), 3), round(max(memories), 3)) == (0.099, 0.116)


def test_both_readings_of_eq_5(table: EnergyTable) -> None:
    model = network("vgg-small")
    standard = model_energy(model, CIFAR, 8)
    accesses_uj = sum(layer.access_uj for layer in standard.layers)
    for reading, supply, mac_fj in [
        ("measured", "nominal", 400),
        ("measured", "scaled", 100),
        ("paper", "nominal", 875 * 0.4),  # E_C(8) = 875 fJ, E_config = 400 / 1000
        ("paper", "scaled", 875 * 0.1),  # the reference stays the nominal conventional MAC
    ]:
        cost = model_energy(
            model, CIFAR, 8, scheme="dg", reading=reading, table=table, supply=supply
        )
        assert cost.energy_mj == pytest.approx((accesses_uj + cost.macs * mac_fj * 1e-9) / 1e3)


def test_an_absent_row_is_an_error(table: EnergyTable) -> None:
    with pytest.raises(TableError, match="no row for scheme dg, w_bits 7"):
        model_energy(network("vgg-small"), CIFAR, 7, scheme="dg", table=table)


@given(
    groups=st.sampled_from([1, 2, 4]),
    per_group=st.integers(1, 3),
    kernel=st.integers(1, 3),
    stride=st.integers(1, 3),
    dilation=st.integers(1, 2),
    height=st.integers(6, 11),
    width=st.integers(6, 11),
)
@settings(max_examples=30, deadline=None)
def test_counts_any_convolution(
    groups: int, per_group: int, kernel: int, stride: int, dilation: int, height: int, width: int
) -> None:
    inputs, outputs = groups * per_group, groups * 2
    conv = nn.Conv2d(
        inputs, outputs, (kernel, 2), stride=stride, dilation=dilation, groups=groups, padding=1
    )
    (shape,) = layer_shapes(nn.Sequential(conv), (inputs, height, width))
    _, _, m_high, m_wide = conv(torch.zeros(1, inputs, height, width)).shape
    assert shape.macs == m_high * m_wide * kernel * 2 * (inputs // groups) * outputs
    assert shape.accesses == inputs * height * width + kernel * 2 * (inputs // groups) * outputs


def test_tracing_leaves_the_model_alone() -> None:
    model = build_model("vgg-small", (1, 8, 8), 3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    layer_shapes(model, (1, 8, 8))
    assert model.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("bits", "says"),
    [
        (0, "whole number from 1 to 16, not 0"),
        (17, "whole number from 1 to 16, not 17"),
        ([8, 8], "2 widths are given for 6 layers"),
        ({"features.0": 8}, "no bits are given for features.3"),
        ({"stem": 8}, "no layer 'stem'"),
    ],
)
def test_bits_that_cannot_be(bits: int | list[int] | dict[str, int], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        model_energy(network("vgg-small"), CIFAR, bits)
