"""An energy table of MACs that are not the project's: `python -m flows.own_mac FILE.toml --out T`.

FILE.toml says how each netlist (of `flows.synth`, or any that Yosys' write_json wrote) is driven;
`flows.energy.mac_drive` explains it. Rows take the place of the scheme that the file names. Their
supply is the library's own: how delay and energy move with it is known of the project's 45 nm
library alone. Stimuli are `uniform` and, where activations can be signed, `uniform_signed`.
"""

from __future__ import annotations

import argparse
import math
import platform
from collections import Counter
from pathlib import Path

import numpy as np

from flows import console, stimulus
from flows.activity import Simulator
from flows.console import FlowError
from flows.energy import mac_drive
from flows.energy.mac_drive import OwnMac, Point, check_ports, points, read
from flows.energy.measure_point import WARMUP, Bench, batch_energies, per_mac, rounded
from flows.energy.measure_table import CLOCK_STEP_PS, today
from flows.energy.points import SIGNED
from flows.library import Library
from flows.netlist import Netlist
from flows.power import PowerModel, check_library
from flows.simulator.delays import REJECT, STEP_PS
from flows.table import EnergyRow, EnergyTable, TableHeader
from flows.timing import critical_path_ps
from hw.command import Parser

VECTORS = 10_240


def load(mac: OwnMac, library: Library) -> Bench:
    """The netlist, ready to be measured."""
    netlist = Netlist.load(Path(mac.netlist), library)
    simulator = Simulator(netlist, library)
    sources = set(simulator.circuit.data_inputs)
    check_ports(mac, netlist, {p for p, nets in netlist.inputs.items() if sources.issuperset(nets)})
    return Bench(netlist, library, simulator, PowerModel(netlist, library))


def clock_period_ps(benches: list[Bench], asked: float) -> float:
    """The common clock: `asked`, or the longest path of all; FlowError where a path is longer."""
    paths = {b.netlist.top: critical_path_ps(b.netlist, b.library) for b in benches}
    top = max(paths, key=paths.__getitem__)
    if asked and asked < paths[top]:
        raise FlowError(
            f"a clock of {asked:g} ps is shorter than the longest path of {top}, "
            f"{paths[top]:.1f} ps; give a longer one."
        )
    return asked or CLOCK_STEP_PS * math.ceil(paths[top] / CLOCK_STEP_PS)


def measure(point: Point, bench: Bench, clock_ps: float, vectors: int, seed: int) -> EnergyRow:
    """Simulate one mode and price it: fJ per multiply-accumulate at the library's supply."""
    netlist, library, lanes = bench.netlist, bench.library, point.mac.lanes
    batches = bench.simulator.run_all(
        stimulus.rounds(vectors, seed),
        lambda rng, streams: point.words(netlist, rng, streams),
        WARMUP,
    )
    row = rounded(
        scheme=point.mac.scheme,
        w_bits=point.bits,
        a_bits=point.bits,
        stimulus="uniform" + (SIGNED if point.a_signed else ""),
        supply="nominal",
        **per_mac(batch_energies(bench, batches), library, clock_ps, library.vdd_v, lanes),
        macs_per_cycle=lanes,
        critical_path_ps=critical_path_ps(netlist, library, point.case(netlist)),
        clock_ps=clock_ps,
        vdd_v=library.vdd_v,
        area_um2=sum(library.cells[i.cell].area_um2 for i in netlist.instances),
        cells=len(netlist.instances),
        origin="netlist",
    )
    return EnergyRow(**row)


def make_table(
    macs: list[OwnMac], library: Library, clock_ps: float = 0.0, *, vectors: int, seed: int
) -> EnergyTable:
    """Every mode of every MAC, measured at one clock (0: the longest path's)."""
    check_library(library)
    benches = [load(mac, library) for mac in macs]
    clock_ps = clock_period_ps(benches, clock_ps)
    jobs = [(p, b) for mac, b in zip(macs, benches, strict=True) for p in points(mac)]
    _refuse_twice([point for point, _ in jobs])
    tracked = console.track(jobs, "measure", label=lambda j: f"{j[1].netlist.top}, {j[0].bits} bit")
    rows = tuple(measure(p, b, clock_ps, vectors, seed) for p, b in tracked)
    names = _names(macs, benches)
    header = TableHeader(
        library=library.name,
        library_sha256=library.sha256,
        nominal_vdd_v=library.vdd_v,
        temperature_c=library.temperature_c,
        netlist_sha256={n: b.netlist.sha256 for n, b in zip(names, benches, strict=True)},
        tools={"python": platform.python_version(), "numpy": np.__version__},
        seed=seed,
        vectors=sum(r.vectors for r in stimulus.rounds(vectors, seed)),
        delay_model=f"NLDM, {STEP_PS:g} ps steps, pulses shorter than {REJECT:.0%} of the gate's "
        "shortest delay rejected",
        voltage_model="none: the library's own supply",
        date=today(),
        notes={"own": {n: vars(m) for n, m in zip(names, macs, strict=True)}},
    )
    return EnergyTable(header, rows)


def _refuse_twice(given: list[Point]) -> None:
    """Refuse two ways to one row before the first is measured."""
    rows = Counter((point.mac.scheme, point.bits, point.a_signed) for point in given)
    (scheme, bits, _), count = rows.most_common(1)[0]
    if count > 1:
        raise FlowError(
            f"two [[mac]] entries give the row of scheme {scheme} at {bits} bits; leave one out."
        )


def _names(macs: list[OwnMac], benches: list[Bench]) -> list[str]:
    """The netlists' tops, with their files where one module stands for several."""
    tops = [bench.netlist.top for bench in benches]
    files = {(b.netlist.top, m.netlist) for m, b in zip(macs, benches, strict=True)}
    repeated = {top for top in tops if sum(top == known for known, _ in files) > 1}
    return [
        f"{top} ({mac.netlist})" if top in repeated else top
        for top, mac in zip(tops, macs, strict=True)
    ]


def main() -> int:
    """Measure the MACs that a file names, write the table and print it."""
    parser = Parser(
        "python -m flows.own_mac",
        f"{__doc__}\n{mac_drive.__doc__}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", type=Path, metavar="FILE.toml")
    parser.add_argument("--liberty", type=Path, help="the netlists' library (default: shipped)")
    parser.add_argument("--vectors", type=int, default=VECTORS, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="S")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    parser.add_json()
    arguments = parser.parse_args()
    macs, clock_ps = read(arguments.file)
    library = Library.load(arguments.liberty)
    table = make_table(macs, library, clock_ps, vectors=arguments.vectors, seed=arguments.seed)
    table.save(arguments.out)
    if arguments.json:
        console.print_json(
            {"out": str(arguments.out), "rows": len(table.rows), "sha256": table.sha256}
        )
    else:
        for row in table.rows:
            print(
                f"{row.scheme:8} {row.w_bits:2} bit {row.stimulus:14} {row.energy_fj:9.1f} "
                f"± {row.ci95_fj:.1f} fJ, {100 * row.glitch_fj / row.energy_fj:.0f} % of it "
                f"glitches, {row.clock_ps:g} ps, {row.vdd_v:g} V"
            )
        print(f"wrote {arguments.out}: {len(table.rows)} rows")
    return 0


if __name__ == "__main__":
    console.run(main)
