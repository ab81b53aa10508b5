"""Proof that a mutant computes what its circuit computes, by Yosys' SAT solver.

Registers and the latches of clock gates are cut: their outputs become free inputs, their data and
clock pins outputs. If no assignment, reachable or not, tells the two circuits' outputs, data or
clocks apart, the registers stay equal for ever from equal contents: an induction over one clock
edge, without bound. Where that fails, control words of `MacSpec`'s modes are assumed, and nothing
about the registers.
"""

from __future__ import annotations

import re
import tempfile
from dataclasses import dataclass
from pathlib import Path

from flows import yosys
from flows.console import FlowError
from hw.rtl.spec import MacSpec

TIMEOUT_S = 60
_FLIPFLOP = re.compile(
    r"reg (\w+);\n((?:  wire [^\n]*\n)*)  always @\(posedge (\w+)\) \w+ <= ([^;]*);"
)
_LATCH = re.compile(r"reg (\w+);\n()  always @\* if \(!(\w+)\) \w+ = ([^;]*);")
_CUT = "(* blackbox *) module CUT(input D, input CK, output Q); endmodule\n"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Whether a mutant is equivalent, and the reason in words."""

    equivalent: bool
    reason: str


def prove(files: tuple[Path, Path], spec: MacSpec, mutation: str) -> Proof:
    """Compare a netlist with itself after `mutation`, a command of Yosys' `mutate`.

    `files` are the netlist and its cells' models (`flows.cell_models`).
    """
    with tempfile.TemporaryDirectory(prefix="quanos-proof-") as folder:
        if _tells(files, spec, mutation, [""], Path(folder)):
            return Proof(
                equivalent=True, reason="proved equivalent, whatever inputs and registers hold"
            )
        if spec.subword and _tells(files, spec, mutation, legal(spec), Path(folder)):
            return Proof(
                equivalent=True,
                reason="proved equivalent in every legal mode, whatever the registers hold",
            )
        if _tells(files, spec, mutation, ["-set in_en 1"], Path(folder)):
            return Proof(
                equivalent=True,
                reason="proved equivalent while en is high; low, it changes what an operand's "
                "register takes, and the other operand is held at zero (the bench's held cycles)",
            )
    return Proof(equivalent=False, reason="not proved equivalent: the bench may lack a case")


def _tells(
    files: tuple[Path, Path], spec: MacSpec, mutation: str, cases: list[str], folder: Path
) -> bool:
    """Whether the solver finds the circuits equal in all of the cases."""
    log = yosys.run(_script(files, spec.name, mutation, cases, folder), spec.name)
    return log.count("no model found: SUCCESS!") == len(cases)


def legal(spec: MacSpec) -> list[str]:
    """Options of `sat` for every number of lanes: precisions that fit into a lane."""
    cases = []
    for n, lanes in enumerate(spec.lane_counts):
        low, high = (spec.w_width // lanes - 1).bit_length(), (spec.w_width - 1).bit_length()
        bits = [f"-set in_{port}_bits[{k}] 0" for port in "wa" for k in range(low, high)]
        cases.append(" ".join([f"-set in_lanes {n}", *bits]))
    return cases


def _script(
    files: tuple[Path, Path], top: str, mutation: str, cases: list[str], folder: Path
) -> list[str]:
    """Yosys commands: both circuits with cut registers, a miter, the solver for every case."""
    netlist, models = files
    cut = folder / "cells.v"
    cut.write_text(_CUT + cut_models(models.read_text(encoding="utf-8")), encoding="utf-8")
    change = re.sub(r"-ctrl \S+ \d+ \d+ ", "", mutation.split(" -src")[0])
    return [
        f"read_verilog {yosys.quote(cut)}",
        f"read_verilog {yosys.quote(netlist)}",
        f"rename {top} gold",
        "copy gold gate",
        change.replace(f"-module {top}", "-module gate"),
        "flatten gold gate",
        "opt_clean",
        "expose -evert t:CUT",
        "miter -equiv -flatten -make_outputs gold gate miter",
        "hierarchy -top miter",
        "opt -full",
        *(f"sat -timeout {TIMEOUT_S} -prove trigger 0 {case} miter" for case in cases),
    ]


def cut_models(models: str) -> str:
    """Cell models with every register and latch replaced by a module without content.

    Raises FlowError for registers with a set or reset of their own.

    >>> cut_models("reg state;\\n  always @(posedge clock) state <= D;")
    'wire state;\\n  CUT cut_ (.D(D), .CK(clock), .Q(state));'
    """
    text = models
    for pattern in (_FLIPFLOP, _LATCH):
        text = pattern.sub(r"wire \1;\n\2  CUT cut_ (.D(\4), .CK(\3), .Q(\1));", text)
    if re.search(r"^ *reg ", text, re.M):
        raise FlowError("cells with an asynchronous set or reset cannot be cut for a proof.")
    return text
