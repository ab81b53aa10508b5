"""The report's table of layers measured on their own operands, beside uniform codes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from flows.table import SCHEMES, EnergyTable
from quanos.energy import LayerShape, layer_shapes
from quanos.models import skeleton
from quanos.reporting.markup import Markup, element, join, table
from quanos.results import Run

FILE = "network_table.json"
"""In a run's folder, what `python -m flows.network` measured on its layers."""


def own_operands(runs: Sequence[Run], given: Path | None) -> Markup | None:
    """How far uniform codes' energies are off, layer by layer, for every run with measured layers.

    `given` is the energy table of the first run's layers; without it, that in the run's folder.
    Raises TableError for a table that lacks a layer at the run's bits.
    """
    found: list[Markup] = []
    for run, path in zip(runs, [given, *[None] * (len(runs) - 1)], strict=True):
        file = path or run.folder / FILE
        if path or file.exists():
            found.append(_section(run, EnergyTable.load(file)))
    return join(*found) if found else None


def _section(run: Run, measured: EnergyTable) -> Markup:
    shapes = layer_shapes(skeleton(run.model, run.input_shape, run.classes), run.input_shape)
    rows = [[s.name, str(run.main.bits[s.name]), *_cells(s, run, measured)] for s in shapes]
    head = ("layer", "bits", *(f"{scheme}, fJ (of uniform)" for scheme in SCHEMES))
    return join(
        element("h2", f"Layers on their own operands: {run.name}"),
        table(head, rows, numbers=1),
        element("p", " ".join(_totals(shapes, run, measured)), class_="small"),
    )


def _cells(shape: LayerShape, run: Run, measured: EnergyTable) -> Iterator[str]:
    """Energy per MAC on the layer's own codes, and how many times the uniform codes' that is."""
    for scheme in SCHEMES:
        own, uniform = _energies(shape, run, measured, scheme)
        yield f"{own:,.0f} ({own / uniform:.2f})"


def _energies(
    shape: LayerShape, run: Run, measured: EnergyTable, scheme: str
) -> tuple[float, float]:
    """fJ per MAC at the nominal supply, by the layer's own codes and by uniform ones."""
    bits, uniform = run.main.bits[shape.name], "uniform_signed" if shape.signed else "uniform"
    own, other = (
        measured.row(scheme, bits, bits, stimulus=stimulus).energy_fj
        for stimulus in (shape.name, uniform)
    )
    return own, other


def _totals(shapes: Sequence[LayerShape], run: Run, measured: EnergyTable) -> Iterator[str]:
    """One image's MACs by both, scheme by scheme, in words."""
    yield (
        "Energy per MAC at the nominal supply, driven by the layer's own weights and activations; "
        "in brackets, times that of uniform random codes, which the table's prices rest on."
    )
    yield "All MACs of one image, own operands against uniform codes:"
    sums = []
    for scheme in SCHEMES:
        pairs = [(s.macs, *_energies(s, run, measured, scheme)) for s in shapes]
        own, uniform = (sum(pair[0] * pair[n] for pair in pairs) / 1e9 for n in (1, 2))
        sums.append(f"{scheme} {own:.3g} µJ against {uniform:.3g}")
    yield f"{'; '.join(sums)}."
