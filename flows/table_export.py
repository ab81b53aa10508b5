"""The energy table in other tools' formats: `python -m flows.table_export --out FOLDER`.

    accelergy/   quanos.table.yaml and data/intmac.csv: a set of tables for Accelergy's table-based
                 plug-in; an architecture asks with attributes technology, scheme, w_bits, a_bits,
                 stimulus, supply and action mac_random (pJ and um2)
    zigzag/      SCHEME_BITSb.yaml: an 8x8 array for ZigZag with the measured `unit_energy` (pJ) and
                 area of a MAC; memories are costed by the paper's Table I (2.5 pJ a bit), which
                 was not measured
    qtools.json  settings for QKeras' qtools, a process a scheme: `fpm_mul` is a polynomial in the
                 bits through the measured MAC energies (pJ), `fpm_add` zero because the MAC's
                 adder is in it; under `quanos` stand the energies themselves and the largest error

All rows have as many bits for weights as for activations, but for Accelergy's, which are all rows.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from flows import console
from flows.console import FlowError
from flows.table import SCHEMES, SUPPLIES, EnergyRow, EnergyTable
from hw.command import Parser

FORMATS = ("accelergy", "zigzag", "qtools")
SIDE = 8  # rows and columns of the array that ZigZag gets
ACCESS_PJ_PER_BIT = 2.5  # Table I of the paper
DEGREE = 3  # of qtools' polynomial: the multiplier's square, and what registers and glitches add


def accelergy(table: EnergyTable) -> dict[str, str]:
    """File name to text: Accelergy's identifier and CSV with every row of the table."""
    head = ("technology", "scheme", "w_bits", "a_bits", "stimulus", "supply", "action", "energy",
            "area")  # fmt: skip
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(head)
    for row in table.rows:
        energy, area = _pj(row), f"{row.area_um2:.4g}"
        writer.writerow(("45nm", *row.key, "mac_random", energy, area))
    name = (
        "name: quanos\ntechnology: 45nm\naccuracy: 90\npath_to_data_dir: ./data\n"
        f"# energy table {table.sha256}\n"
    )
    return {"accelergy/quanos.table.yaml": name, "accelergy/data/intmac.csv": text.getvalue()}


def _pj(row: EnergyRow) -> str:
    return f"{row.energy_fj / 1000:.6g}"


def zigzag(table: EnergyTable, supply: str) -> dict[str, str]:
    """File name to text: one accelerator a scheme and precision."""
    return {
        f"zigzag/{row.scheme}_{row.w_bits}b.yaml": _accelerator(row, table.sha256)
        for row in _square(table, supply)
    }


def _accelerator(row: EnergyRow, sha256: str) -> str:
    """A weight-stationary array: weights and sums in the elements, one memory behind."""
    bits, lanes = row.w_bits, row.macs_per_cycle
    sums = 2 * bits + 13  # room for 4608 products, the longest sum of a VGG
    columns = SIDE * lanes
    word = max(bits, 1)
    return f"""\
# {row.scheme} at {bits} bits, supply {row.supply} ({row.vdd_v:g} V), energy table {sha256}
name: quanos_{row.scheme}_{bits}b

memories:
  weight_register:  # its energy is in the MAC's
{_memory(bits, 0, "I2", bits, bits, "[]")}
  accumulator:  # its energy is in the MAC's
{_accumulator(sums)}
  memory:  # {ACCESS_PJ_PER_BIT} pJ a bit, Table I of the paper; not measured
    size: 10000000000
    r_cost: {ACCESS_PJ_PER_BIT * word * SIDE:g}
    w_cost: {ACCESS_PJ_PER_BIT * word * SIDE:g}
    area: 0
    latency: 1
    operands: [I1, I2, O]
    ports:
      - name: rw_port_1
        type: read_write
        bandwidth_min: {word * SIDE}
        bandwidth_max: {word * SIDE}
        allocation: ["I1, fh", "I1, tl", "I2, fh", "I2, tl", "O, fh", "O, tl", "O, fl", "O, th"]
    served_dimensions: [D1, D2]

operational_array:
  input_precision: [{bits}, {bits}]
  unit_energy: {_pj(row)}  # pJ a useful MAC
  unit_area: {row.area_um2 / lanes:.6g}  # um2
  dimensions: [D1, D2]
  sizes: [{SIDE}, {columns}]  # {lanes} lane(s) an element
"""


def _memory(size: int, cost: int, operand: str, low: int, high: int, served: str) -> str:
    return f"""\
    size: {size}
    r_cost: {cost}
    w_cost: {cost}
    area: 0
    latency: 1
    operands: [{operand}]
    ports:
      - name: r_port_1
        type: read
        bandwidth_min: {low}
        bandwidth_max: {high}
        allocation: ["{operand}, tl"]
      - name: w_port_1
        type: write
        bandwidth_min: {low}
        bandwidth_max: {high}
        allocation: ["{operand}, fh"]
    served_dimensions: {served}"""


def _accumulator(bits: int) -> str:
    ports = "\n".join(
        f"""\
      - name: {kind[0]}_port_{number}
        type: {kind}
        bandwidth_min: {bits}
        bandwidth_max: {bits}
        allocation: ["O, {direction}"]"""
        for kind, number, direction in (
            ("read", 1, "tl"), ("read", 2, "th"), ("write", 1, "fh"), ("write", 2, "fl"),
        )
    )  # fmt: skip
    return f"""\
    size: {bits}
    r_cost: 0
    w_cost: 0
    area: 0
    latency: 1
    operands: [O]
    ports:
{ports}
    served_dimensions: []"""


def qtools(table: EnergyTable, supply: str) -> dict[str, str]:
    """File name to text: qtools' settings."""
    rows = list(_square(table, supply))
    settings: dict[str, Any] = {
        f"quanos_{scheme}": _process([row for row in rows if row.scheme == scheme])
        for scheme in dict.fromkeys(row.scheme for row in rows)
    }
    settings["quanos"] = {"table_sha256": table.sha256, "supply": supply}
    return {"qtools.json": json.dumps(settings, indent=1) + "\n"}


def _process(rows: list[EnergyRow]) -> dict[str, Any]:
    """A process's polynomials, highest power first as numpy.poly1d takes them, with their error."""
    bits = np.array([row.w_bits for row in rows], dtype=float)
    energies = np.array([row.energy_fj / 1000 for row in rows])
    degree = min(DEGREE, len(rows) - 1)
    fit = np.polyfit(bits, energies, degree, w=1 / energies)  # relative errors count alike
    error = float(np.max(np.abs(np.polyval(fit, bits) / energies - 1)))
    measured = {str(row.w_bits): round(row.energy_fj / 1000, 6) for row in rows}
    return {
        "fpm_mul": [float(f"{value:.8g}") for value in fit],
        "fpm_add": [0.0],
        "mac_pj": measured,
        "largest_relative_error": round(error, 4),
    }


def _square(table: EnergyTable, supply: str) -> Iterable[EnergyRow]:
    """Rows of uniform operands with as many bits for weights as for activations, in order."""
    found = [
        row
        for row in table.rows
        if row.w_bits == row.a_bits and row.stimulus == "uniform" and row.supply == supply
    ]
    if not found:
        raise FlowError(f"the table has no rows of uniform operands at supply {supply}.")
    return sorted(found, key=lambda row: (SCHEMES.index(row.scheme), row.w_bits))


def export(table: EnergyTable, formats: Iterable[str], supply: str, out: Path) -> list[Path]:
    """Write the files of the formats under `out`; returns them."""
    files: dict[str, str] = {}
    for kind in formats:
        if kind == "accelergy":
            files |= accelergy(table)
        elif kind == "zigzag":
            files |= zigzag(table, supply)
        else:
            files |= qtools(table, supply)
    for name, text in files.items():
        console.write_text(out / name, text)
    return [out / name for name in files]


def main() -> int | None:
    """The command."""
    parser = Parser(
        "python -m flows.table_export",
        __doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("table", nargs="?", help="energy table (default: the one that ships)")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--supply", choices=SUPPLIES, default="nominal", help="for zigzag, qtools")
    parser.add_argument("--out", type=Path, default=Path("build/table_export"))
    parser.add_json()
    args = parser.parse_args()
    files = export(EnergyTable.load(args.table), args.formats, args.supply, args.out)
    if args.json:
        console.print_json({"files": [str(file) for file in files]})
    else:
        print(f"{len(files)} files under {args.out}")
    return None


if __name__ == "__main__":
    console.run(main)
