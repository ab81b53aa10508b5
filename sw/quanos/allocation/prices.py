"""Every price of a network that an energy table can give, and why it cannot give the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from torch import nn

from flows.table import SCHEMES, EnergyTable, TableError
from quanos.energy import layer_shapes, mac_energy, price, resolve_bits
from quanos.quantizer import MAX_BITS


def priced(
    model: nn.Module, input_shape: Sequence[int], bits: Mapping[str, int], table: EnergyTable
) -> dict[str, Any]:
    """Memory, and energy by every scheme, reading and supply that the table has rows for.

    `energy_missing` says for every scheme without all of its prices why: {scheme: reason}.
    """
    shapes = layer_shapes(model, input_shape)
    feeds: Mapping[str, str] = getattr(model, "feeds", {})
    names = [shape.name for shape in shapes]
    own, full = (resolve_bits(names, widths, feeds) for widths in (bits, MAX_BITS))
    rows: list[dict[str, Any]] = []
    missing: dict[str, str] = {}
    for point in operating_points(table):
        try:
            mac = mac_energy(**point, table=table)
            energy, at_16 = (price(shapes, w, mac, feeds=feeds).energy_mj for w in (own, full))
        except TableError as error:
            missing.setdefault(point["scheme"], str(error))
            continue
        rows.append({**point, "energy_mj": energy, "ratio_to_16": energy / at_16})
    standard, widest = (price(shapes, w, mac_energy(), feeds=feeds) for w in (own, full))
    return {
        "macs": standard.macs,
        "memory_gbit": standard.memory_gbit,
        "memory_compression": widest.memory_gbit / standard.memory_gbit,
        "energy": rows,
        "energy_missing": missing,
    }


def operating_points(table: EnergyTable) -> Iterator[dict[str, str]]:
    """Scheme, reading and supply of every price; the paper's linear law comes first.

    A scheme that the table lacks is asked for at nominal supply, so that its absence is told.
    """
    yield {"scheme": "standard", "reading": "paper", "supply": "nominal"}
    there = {(row.scheme, row.supply) for row in table.rows}
    absent = {(scheme, "nominal") for scheme in SCHEMES} - there
    for scheme, supply in sorted(there | absent):
        for reading in ("paper", "measured"):
            yield {"scheme": scheme, "reading": reading, "supply": supply}
