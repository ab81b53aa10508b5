"""Energy per useful multiply-accumulate of a whole array, beside that of the MAC on its own.

`python -m flows.array_energy --synth DIR [--bits 16 8 4] [--out FILE.json] [--page FILE.md]`. DIR
holds the mapped arrays with their NAME.array.json. An array is simulated with its delays on tiles
of random matrices as its schedule gives them; everything in it is counted: elements, skews, the
sums' adders and memory, the streams' registers. The MAC's energy is the table's row of the same
scheme, precision and stimulus, at the same supply and clock; `nominal` of both.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from flows import console
from flows.activity import Simulator
from flows.arrays import array_schedule
from flows.arrays.array_schedule import Cycle
from flows.console import FlowError
from flows.energy.measure_point import half_width
from flows.library import Library
from flows.netlist import Netlist
from flows.power import PowerModel
from flows.supply import LAW, NOMINAL_V
from flows.table import EnergyTable
from hw.command import Parser
from hw.rtl.spec import ArraySpec

WARMUP = 64  # cycles: the first tiles have reached the last element
CYCLES = 192
STREAMS = 16


@dataclass(frozen=True, kw_only=True)
class Measured:
    """Energies in fJ per useful multiply-accumulate; `per_mac` are cycles for each of those.

    `ci95_fj` is half of the 95 % interval of `array_fj`, by the streams, which are independent.
    `register_clock_fj` is the clock's energy for each flip-flop in a cycle, gates and all.
    """

    per_mac: float
    array_fj: float
    ci95_fj: float
    switching_fj: float
    internal_fj: float
    clock_fj: float
    register_clock_fj: float
    leakage_fj: float
    glitch_fj: float


@dataclass(frozen=True, kw_only=True)
class Row(Measured):
    """An array beside its MAC; `use` is the share of cycles with a beat of activations."""

    array: str
    scheme: str
    bits: int
    cells: int
    clock_ps: float
    use: float
    mac_fj: float
    ratio: float


@dataclass(frozen=True)
class Bench:
    """An array's netlist with what simulates and prices it."""

    spec: ArraySpec
    netlist: Netlist
    library: Library
    simulator: Simulator
    model: PowerModel

    @classmethod
    def load(cls, spec: ArraySpec, folder: Path) -> Bench:
        """The array whose netlist lies in the folder."""
        library = Library.load()
        netlist = Netlist.load(folder / f"{spec.name}.netlist.json", library)
        return cls(
            spec, netlist, library, Simulator(netlist, library), PowerModel(netlist, library)
        )

    def measure(self, streams: list[list[Cycle]], clock_ps: float) -> Measured:
        """Energies on streams of equal length, whose first WARMUP cycles do not count."""
        netlist, count, cycles = self.netlist, len(streams), len(streams[0]) - WARMUP
        inputs = array_schedule.inputs(netlist, streams)
        counted = self.simulator.run(inputs, WARMUP, count)
        per_mac = count * cycles / array_schedule.useful_macs(streams, WARMUP)
        each = [counted.activity(netlist, batch=i) for i in range(count)]
        energies = self.model.energies(
            [counted.activity(netlist), counted.activity(netlist, glitches=False), *each]
        )
        scale = LAW.energy_ratio(NOMINAL_V, self.library.vdd_v) * per_mac
        parts = energies.parts_fj(clock_ps, scale)
        whole, settled, *by_stream = np.sum(list(parts.values()), axis=0).tolist()
        registers = sum(self.library.cells[x.cell].kind == "flipflop" for x in netlist.instances)
        return Measured(
            per_mac=per_mac,
            array_fj=whole,
            ci95_fj=half_width(by_stream),
            **{f"{name}_fj": float(values[0]) for name, values in parts.items()},
            register_clock_fj=float(parts["clock"][0]) / per_mac / registers,
            glitch_fj=whole - settled,
        )


def specs(folder: Path) -> list[ArraySpec]:
    """The arrays whose netlists lie in the folder."""
    found = []
    for path in sorted(folder.glob("*.array.json")):
        if path.with_name(path.name.replace(".array.json", ".netlist.json")).exists():
            found.append(ArraySpec(**json.loads(path.read_text(encoding="utf-8"))))
    if not found:
        raise FlowError(
            f"{folder} holds no mapped array; write them with `python -m hw.rtl.verilog --arrays` "
            "and `python -m flows.synth`."
        )
    return found


def measure(
    spec: ArraySpec, folder: Path, bits: Sequence[int], kind: str, seed: int, table: EnergyTable
) -> Iterator[Row]:
    """A row for each precision that the array can run."""
    bench = Bench.load(spec, folder)
    for k in bits:
        if spec.scheme == "fixed" and k != spec.w_width:
            continue
        mode = spec.mac.mode(k, k)
        streams = [
            array_schedule.random_schedule(spec, mode, kind, rng, WARMUP + CYCLES)
            for rng in np.random.default_rng(seed).spawn(STREAMS)
        ]
        mac = table.row(spec.scheme, k, k, stimulus=kind)
        found = bench.measure(streams, mac.clock_ps)
        yield Row(
            array=spec.name,
            scheme=spec.scheme,
            bits=k,
            cells=len(bench.netlist.instances),
            clock_ps=mac.clock_ps,
            use=1 / (found.per_mac * spec.rows * spec.columns * mode.lanes),
            mac_fj=mac.energy_fj,
            ratio=found.array_fj / mac.energy_fj,
            **asdict(found),
        )


PAGE = """# Energy of the array per multiply-accumulate

How far N_C x E_MAC, MACs times the energy table's MAC energy, is from a whole array. Arrays of
8 x 8 elements, mapped like the MACs, simulated with their delays on tiles of random matrices
({kind} codes, seed {seed}, {streams} streams of {cycles} cycles); 1.0 V, the table's clock.

    python -m hw.rtl.verilog --arrays --out build/arrays/rtl
    python -m flows.synth --rtl build/arrays/rtl --out build/arrays/synth
    cp build/arrays/rtl/*.array.json build/arrays/synth
    python -m flows.array_energy --synth build/arrays/synth --page docs/array_energy.md

{header}
{rows}

- Energies are in fJ per useful multiply-accumulate: one of a lane of an element in a cycle with a
  beat of activations. {use:.0f} % of the cycles have one: tiles of as many rows as the array keeps
  sums for ({depth}) wait a cycle for the next weights.
- An array shares what each MAC has for itself (gating of operands) and adds what a MAC has not: a
  second weight register, registers that pass operands on, skews, adders and the memory of sums.
  Weights are loaded as often as a tile is short; longer tiles load less and cost less.
- The array's registers wait for the sums' reader as one; here the reader never waits.
- 95 %: half of the interval, by the {streams} streams. Seed 1 (`--seed 1`) gives 5,211, 2,301 and
  1,166 for the DVAFS array. Glitches are part of switching and internal.
- "Clock each" is per flip-flop and cycle. All registers of the DG array are clocked always, as in
  the paper (6.9 fJ at data that stand still); gates of the others stop those of weights and sums.
- No clock has a tree here, neither ahead of the gates nor behind them. Up to 4,020 flip-flops hang
  on one gate of the DVAFS array, where its pin may drive 63; such a gate's clock has the slew of
  the one ahead of it. With the slews that the tables extrapolate for it (8.7 ns) the clock took
  10,488 fJ and the whole 15,842: an error of earlier pages. With its gates split into ones of at
  most 32 flip-flops each, 517 more, and their real slews, the DVAFS array takes 3.9 % more
  at 16 bits than here; of at most 63, 227 more, 6.4 % (once, on 4 streams of 64 cycles).
- The MAC's row comes from the shipped energy table, made by `nox -s energy`.
- Layers of a trained network on arrays of their own, with their own operands: `python -m
  flows.array_layers`, in [codesign.md](codesign.md).
"""


COLUMNS = (
    *("array", "bits", "cells", "all", "95 %", "switching", "internal", "clock", "leakage"),
    *("glitches", "clock each", "MAC", "all / MAC"),
)


def page(rows: Sequence[Row], kind: str, seed: int, depth: int) -> str:
    """The Markdown page of a run."""
    names = ("switching", "internal", "clock", "leakage", "glitch")
    lines = [
        f"| {r.array} | {r.bits} | {r.cells:,} | {r.array_fj:,.0f} | {r.ci95_fj:.1f} | "
        + " | ".join(f"{getattr(r, f'{name}_fj'):,.0f}" for name in names)
        + f" | {r.register_clock_fj:.2f} | {r.mac_fj:,.0f} | {r.ratio:.2f} |"
        for r in rows
    ]
    figures = {"streams": STREAMS, "cycles": CYCLES, "depth": depth, "kind": kind, "seed": seed}
    header = f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}"
    return PAGE.format(header=header, rows="\n".join(lines), use=100 * rows[0].use, **figures)


def main() -> int:
    """Measure the arrays in a folder and write their page."""
    arguments = _arguments()
    table = EnergyTable.load(arguments.table)
    found = specs(arguments.synth)
    if arguments.plan:
        from flows.planning import arrays_plan

        operations = STREAMS * (WARMUP + CYCLES)
        writes = [path for path in (arguments.out, arguments.page) if path]
        plan = arrays_plan(found, arguments.synth, arguments.bits, operations, writes)
        plan.give(as_json=arguments.json)
        return 0
    rows: list[Row] = []
    for spec in console.track(found, "arrays", label=lambda s: s.name):
        given = (arguments.bits, arguments.stimulus, arguments.seed, table)
        for row in measure(spec, arguments.synth, *given):
            rows.append(row)
            _write(rows, arguments, found[0].depth)  # a run that is cut off keeps these
            print(_line(row), file=sys.stderr if arguments.json else sys.stdout, flush=True)
    if arguments.json:
        print(_json(rows, arguments))
    return 0


def _json(rows: Sequence[Row], arguments: argparse.Namespace) -> str:
    result = {"seed": arguments.seed, "stimulus": arguments.stimulus}
    return json.dumps(result | {"rows": [asdict(row) for row in rows]}, indent=1)


def _write(rows: Sequence[Row], arguments: argparse.Namespace, depth: int) -> None:
    if arguments.out is not None:
        console.write_text(arguments.out, _json(rows, arguments) + "\n")
    if arguments.page is not None:
        text = page(rows, arguments.stimulus, arguments.seed, depth)
        console.write_text(arguments.page, text)


def _line(row: Row) -> str:
    return (
        f"{row.array}, {row.bits} bits: array {row.array_fj:.0f} fJ/MAC, "
        f"MAC {row.mac_fj:.0f} fJ, ratio {row.ratio:.2f}"
    )


def _arguments() -> argparse.Namespace:
    parser = Parser("python -m flows.array_energy", __doc__)
    add = parser.add_argument
    add("--synth", type=Path, required=True, metavar="DIR", help="mapped arrays and their specs")
    add("--bits", type=int, nargs="+", default=[16, 8, 4], metavar="K")
    add("--stimulus", choices=("uniform", "gaussian"), default="uniform")
    add("--seed", type=int, default=0, metavar="S")
    add("--table", type=Path, metavar="FILE", help="energy table (default: the shipped one)")
    add("--out", type=Path, metavar="FILE.json")
    add("--page", type=Path, metavar="FILE.md")
    parser.add_plan()
    parser.add_json()
    return parser.parse_args()


if __name__ == "__main__":
    console.run(main)
