"""What a network costs: energy and memory from the shapes of its layers and their bits.

Table I and Eq. 4 of the paper, for a layer of I input and O output channels, kernel k x k, input
plane N x N, output plane M x M and k_b bits (a plane that is no square counts H W pixels):

    N_A = N^2 I + k^2 I O       memory accesses    E_A = 2.5 k_b pJ
    N_C = M^2 I k^2 O           MACs               E_C = 3.1 k_b / 32 + 0.1 pJ
    E   = N_A E_A + N_C E_C                        memory = I O k^2 k_b bits

That is scheme "standard". The others take the MAC's energy from the energy table, by one of two
readings of Eq. 5: "paper" multiplies E_C, as printed, by E_config(k_b), the table's energy of the
scheme at k_b bits over that of the conventional 16-bit MAC (scheme "fixed", 16 bits); since E_C is
already linear in k_b, that scales precision twice. "measured" takes the table's energy of one MAC
in place of E_C. A layer whose input can be negative, as the image's after normalisation, takes the
table's rows of signed operands (stimulus `uniform_signed` beside `uniform`); the 16-bit MAC that
E_config relates to multiplies unsigned activations.

The classifier, a Linear that runs last, is not counted: it stays in float.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from torch import nn

from flows.table import SCHEMES, EnergyTable
from quanos.integer.shapes import LayerShape as LayerShape
from quanos.integer.shapes import layer_shapes as layer_shapes
from quanos.quantizer import MAX_BITS, check_bits

READINGS = ("paper", "measured")
Bits = int | Mapping[str, int] | Sequence[int]
SIGNED = "_signed"
"""What a stimulus's name ends with where the activations have a sign."""


class MacEnergy(Protocol):
    """Energy in pJ of one MAC at a number of bits, by whether its activations have a sign."""

    def __call__(self, bits: int, signed: bool = False) -> float: ...


@dataclass(frozen=True, kw_only=True)
class LayerEnergy:
    """The price of one layer for one image."""

    name: str
    bits: int
    signed: bool
    macs: int
    accesses: int
    weights: int
    memory_bits: int
    access_uj: float
    compute_uj: float

    @property
    def energy_uj(self) -> float:
        """Accesses and computation together."""
        return self.access_uj + self.compute_uj


@dataclass(frozen=True, kw_only=True)
class ModelEnergy:
    """The price of one image's forward pass.

    `memory_gbit` is that of the weights (1e9 bits). `mean_bits` counts every layer once, as the
    paper does, but for shortcuts, whose bits are another layer's.
    """

    energy_mj: float
    memory_gbit: float
    macs: int
    mean_bits: float
    layers: tuple[LayerEnergy, ...]


def model_energy(
    model: nn.Module,
    input_shape: Sequence[int],
    bits: Bits,
    *,
    scheme: str = "standard",
    reading: str = "measured",
    table: EnergyTable | None = None,
    stimulus: str = "uniform",
    supply: str = "nominal",
) -> ModelEnergy:
    """Energy and weight memory of `model` for one image (C, H, W).

    `bits` is one width for all layers, a mapping by layer name, or one width per layer in forward
    order; shortcuts (`model.feeds`) may be left out of both. `table` defaults to the one that ships
    with the package; `stimulus` is that of unsigned activations. Raises ValueError for
    bits, scheme or reading that cannot be, and TableError where the table lacks a row.
    """
    shapes = layer_shapes(model, input_shape)
    feeds: Mapping[str, str] = getattr(model, "feeds", {})
    widths = resolve_bits([shape.name for shape in shapes], bits, feeds)
    mac = mac_energy(scheme, reading, table, stimulus=stimulus, supply=supply)
    return price(shapes, widths, mac, feeds=feeds)


def price(
    shapes: Sequence[LayerShape],
    bits: Mapping[str, int],
    mac: MacEnergy,
    *,
    feeds: Mapping[str, str] | None = None,
) -> ModelEnergy:
    """Eq. 4 and 5 over layer shapes: no model runs, so thousands of settings can be priced."""
    layers = tuple(_layer(shape, bits[shape.name], mac) for shape in shapes)
    own = [layer.bits for layer in layers if layer.name not in (feeds or {})]
    return ModelEnergy(
        energy_mj=sum(layer.energy_uj for layer in layers) / 1e3,
        memory_gbit=sum(layer.memory_bits for layer in layers) / 1e9,
        macs=sum(layer.macs for layer in layers),
        mean_bits=sum(own) / len(own),
        layers=layers,
    )


def _layer(shape: LayerShape, bits: int, mac: MacEnergy) -> LayerEnergy:
    return LayerEnergy(
        name=shape.name,
        bits=bits,
        signed=shape.signed,
        macs=shape.macs,
        accesses=shape.accesses,
        weights=shape.weights,
        memory_bits=shape.weights * bits,
        access_uj=shape.accesses * 2.5 * bits / 1e6,  # E_A
        compute_uj=shape.macs * mac(bits, shape.signed) / 1e6,
    )


def energy_costs(
    shapes: Sequence[LayerShape], mac: MacEnergy, feeds: Mapping[str, str] | None = None
) -> dict[str, list[float]]:
    """Energy in mJ of every layer at 1..16 bits, each with that of the shortcuts that follow it.

    What a budget in millijoules is counted with: the sum over layers is the network's energy.
    """
    feeds = feeds or {}
    costs: dict[str, list[float]] = {}
    for shape in shapes:
        row = [_layer(shape, k, mac).energy_uj / 1e3 for k in range(1, MAX_BITS + 1)]
        owner = feeds.get(shape.name, shape.name)
        before = costs.get(owner, [0.0] * MAX_BITS)
        costs[owner] = [a + b for a, b in zip(before, row, strict=True)]
    return costs


def linear_law(bits: int, signed: bool = False) -> float:
    """E_C of Table I: 3.1 k_b / 32 + 0.1 pJ, whatever the operands' signs.

    >>> linear_law(8)
    0.875
    """
    return 3.1 * bits / 32 + 0.1


def mac_energy(
    scheme: str = "standard",
    reading: str = "measured",
    table: EnergyTable | None = None,
    *,
    stimulus: str = "uniform",
    supply: str = "nominal",
) -> MacEnergy:
    """The energy of one MAC in pJ as a function of its bits, by scheme and reading of Eq. 5.

    `stimulus` is that of unsigned activations; signed ones take the rows of `stimulus_signed`.
    Raises ValueError for an unknown scheme or reading, TableError for an operand that has no row.
    """
    if scheme not in ("standard", *SCHEMES):
        known = ", ".join(("standard", *SCHEMES))
        raise ValueError(f"scheme {scheme!r} is unknown; there are {known}.")
    if reading not in READINGS:
        raise ValueError(f"reading {reading!r} is unknown; there are {', '.join(READINGS)}.")
    if scheme == "standard":
        return linear_law
    rows = table or EnergyTable.load()

    def measured(bits: int, signed: bool = False) -> float:
        ending = SIGNED if signed and not stimulus.endswith(SIGNED) else ""
        row = rows.row(scheme, bits, bits, stimulus=stimulus + ending, supply=supply)
        return row.energy_fj / 1e3

    if reading == "measured":
        return measured
    conventional = rows.row("fixed", MAX_BITS, MAX_BITS, stimulus=stimulus).energy_fj / 1e3

    def relative(bits: int, signed: bool = False) -> float:
        return linear_law(bits) * measured(bits, signed) / conventional  # E_C E_config

    return relative


def resolve_bits(
    names: Sequence[str], bits: Bits, feeds: Mapping[str, str] | None = None
) -> dict[str, int]:
    """Every layer's bits, by name; a shortcut that has none takes those of the layer it feeds.

    Raises ValueError for widths that are too many or too few, or outside 1..16, and unknown names.

    >>> resolve_bits(["a", "b", "shortcut"], [8, 4], {"shortcut": "b"})
    {'a': 8, 'b': 4, 'shortcut': 4}
    """
    feeds = feeds or {}
    own = [name for name in names if name not in feeds]
    if isinstance(bits, int):
        given = dict.fromkeys(names, bits)
    elif isinstance(bits, Mapping):
        given = dict(bits)
    elif len(bits) in (len(names), len(own)):
        given = dict(zip(names if len(bits) == len(names) else own, bits, strict=True))
    else:
        counts = " or ".join(str(n) for n in sorted({len(own), len(names)}))
        raise ValueError(f"{len(bits)} widths are given for {counts} layers; give one for each.")
    if unknown := [name for name in given if name not in names]:
        raise ValueError(f"the model has no layer {unknown[0]!r}; there are {', '.join(names)}.")
    for name in feeds.keys() - given.keys():
        if feeds[name] in given:
            given[name] = given[feeds[name]]
    if missing := [name for name in names if name not in given]:
        raise ValueError(f"no bits are given for {', '.join(missing)}; give every layer's.")
    return {name: check_bits(given[name]) for name in names}
