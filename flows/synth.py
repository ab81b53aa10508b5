"""Synthesis: a Verilog design mapped onto the cells of a Liberty library.

`python -m flows.synth DESIGN.v... --top NAME --out DIR` writes `NAME.netlist.json`,
`NAME.netlist.v` and `NAME.synth.json`; `python -m flows.synth --rtl DIR --out DIR` does so for
every design in a folder (one top per file, named as the file) and prints a table.
"""

from __future__ import annotations

import hashlib
import json
import re
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import yosys
from flows.console import FlowError, write_text
from flows.library import Library
from flows.netlist import Netlist
from flows.netlist_write import tidy, to_json, to_verilog
from flows.synth_script import Options, check_log, script

FLOW = 1  # counts up when the script below gives other netlists


@dataclass(frozen=True, kw_only=True)
class Synthesis:
    """What NAME.synth.json holds."""

    top: str
    cells: int
    area_um2: float
    by_cell: dict[str, int]
    library: str
    library_sha256: str
    netlist_sha256: str
    inputs_sha256: str
    yosys: str
    options: dict[str, Any]


def synthesize(
    sources: list[Path], top: str, out: Path, library: Library, options: Options | None = None
) -> Synthesis:
    """Synthesise one top into `out`; what is there already from the same inputs is kept.

    Raises FlowError, with the name of the signal or cell, for what Yosys refuses and for latches,
    loops, undriven or multiply driven nets and x in the result.
    """
    options = options or Options()
    if not re.fullmatch(r"[A-Za-z_][\w$]*", top):
        raise FlowError(f"{top!r} is no name of a Verilog module.")
    inputs = _hash_inputs(sources, top, library, options)
    report = out / f"{top}.synth.json"
    if (kept := _kept(report, inputs)) is not None:
        return kept
    with tempfile.TemporaryDirectory(prefix="quanos-synth-") as folder:
        raw = Path(folder) / "netlist.json"
        log = yosys.run(script(sources, top, library, options, Path(folder), raw), top)
        check_log(log, top)
        netlist = tidy(Netlist.load(raw, library, top), library)
    result = _describe(netlist, library, options, inputs)
    write_text(out / f"{top}.netlist.json", to_json(netlist, library))
    write_text(out / f"{top}.netlist.v", to_verilog(netlist))
    write_text(report, json.dumps(asdict(result), indent=1) + "\n")
    return result


def _hash_inputs(sources: list[Path], top: str, library: Library, options: Options) -> str:
    """Of everything that decides the result."""
    digest = hashlib.sha256()
    for source in sources:
        digest.update(hashlib.sha256(source.read_bytes()).digest())
    rest = [FLOW, top, library.sha256, asdict(options), yosys.version()]
    digest.update(json.dumps(rest).encode())
    return digest.hexdigest()


def _kept(report: Path, inputs: str) -> Synthesis | None:
    """The finished synthesis of the same inputs, if its files are all there."""
    try:
        data = json.loads(report.read_text(encoding="utf-8"))
        known = Synthesis(**data)
    except (OSError, ValueError, TypeError):
        return None
    files = [report.with_name(f"{known.top}.netlist.{end}") for end in ("json", "v")]
    return known if known.inputs_sha256 == inputs and all(f.exists() for f in files) else None


def _describe(netlist: Netlist, library: Library, options: Options, inputs: str) -> Synthesis:
    by_cell = Counter(instance.cell for instance in netlist.instances)
    area = sum(count * library.cells[name].area_um2 for name, count in by_cell.items())
    return Synthesis(
        top=netlist.top,
        cells=len(netlist.instances),
        area_um2=round(area, 6),
        by_cell=dict(sorted(by_cell.items())),
        library=library.name,
        library_sha256=library.sha256,
        netlist_sha256=netlist.sha256,
        inputs_sha256=inputs,
        yosys=yosys.version(),
        options=asdict(options),
    )
