"""Proof that a mutant computes what its circuit computes, by Yosys' SAT solver.

Registers and the latches of clock gates are cut: their outputs become free inputs, their data and
clock pins outputs. If no assignment, reachable or not, tells the two circuits' outputs, data or
clocks apart, the registers stay equal for ever from equal contents: an induction over one clock
edge, without bound. Where that fails, control words of `MacSpec`'s modes are assumed, and nothing
about the registers.

A mutant may still hold other operands where they do not matter, times a zero say. So registers that
take nothing but input ports are looked through: what they hold is what the ports brought a cycle
before, and only what the others make of it is compared. Ports that both sides of such a register
read, the mode's, are taken as held from one cycle to the next.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from flows.console import FlowError
from flows.synthesis import yosys
from hw.rtl.spec import MacSpec

TIMEOUT_S = 60
_FLIPFLOP = re.compile(
    r"reg (\w+);\n((?:  wire [^\n]*\n)*)  always @\(posedge (\w+)\) \w+ <= ([^;]*);"
)
_LATCH = re.compile(r"reg (\w+);\n()  always @\* if \(!(\w+)\) \w+ = ([^;]*);")
_CUT = (
    "(* blackbox *) module CUT(input D, input CK, output Q); endmodule\n"
    "module THROUGH(input D, input CK, output Q); assign Q = D; endmodule\n"
)
CLOCK = "clk"


@dataclass(frozen=True, kw_only=True)
class Proof:
    """Whether a mutant is equivalent, and the reason in words."""

    equivalent: bool
    reason: str


def prove(files: tuple[Path, Path], spec: MacSpec, mutation: str) -> Proof:
    """Compare a netlist with itself after `mutation`, a command of Yosys' `mutate`.

    `files` are the netlist and its cells' models (`flows.cells.cell_models`).
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
        clear, held = input_registers(_modules(files, spec, mutation, Path(folder)))
        if clear and all(
            _tells(files, spec, mutation, [""], Path(folder), clear, en) for en in (0, 1)
        ):
            ports = f", with {', '.join(held)} held from cycle to cycle" if held else ""
            return Proof(
                equivalent=True,
                reason=f"proved equivalent in all but what operand registers hold where it does "
                f"not matter{ports}",
            )
    return Proof(equivalent=False, reason="not proved equivalent: the bench may lack a case")


def _tells(
    files: tuple[Path, Path],
    spec: MacSpec,
    mutation: str,
    cases: list[str],
    folder: Path,
    clear: Sequence[str] = (),
    en: int | None = None,
) -> bool:
    """Whether the solver finds the circuits equal in all of the cases; `clear` registers are looked
    through, and `en` is a constant, which lets equal parts of the circuits merge."""
    both = [f"{module}/{name}" for name in clear for module in ("gold", "gate")]
    script = [
        *_script(files, spec.name, mutation, folder),
        *(["chtype -set THROUGH " + " ".join(both), "flatten gold gate"] if both else []),
        *(_held(en) if en is not None else []),
        "expose -evert t:CUT",
        "miter -equiv -flatten -make_outputs gold gate miter",
        "hierarchy -top miter",
        "opt -full",
        *(f"sat -timeout {TIMEOUT_S} -prove trigger 0 {case} miter" for case in cases),
    ]
    return yosys.run(script, spec.name).count("no model found: SUCCESS!") == len(cases)


def _held(en: int) -> list[str]:
    """Port `en` of both circuits as a constant."""
    connect = (f"cd {module}; connect -set en 1'b{en}; cd .." for module in ("gold", "gate"))
    return ["delete -input gold/w:en gate/w:en", *connect, "opt -full gold gate"]


def _modules(
    files: tuple[Path, Path], spec: MacSpec, mutation: str, folder: Path
) -> dict[str, Any]:
    """Both circuits with cut registers, gold and gate, as Yosys' JSON has them."""
    path = folder / "modules.json"
    script = [*_script(files, spec.name, mutation, folder), f"write_json {yosys.quote(path)}"]
    yosys.run(script, spec.name)
    modules = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return {name: modules[name] for name in ("gold", "gate")}


def input_registers(modules: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Registers clocked by a port that take nothing but ports, in every module; and the ports that
    they read and that anything else reads too, besides the clock."""
    found: list[set[str]] = []
    shared: set[str] = set()
    for module in modules.values():
        cones = _Cones(module)
        registers = {
            name
            for name, cell in cones.cuts.items()
            if not cones.cuts_before(cell["D"]) and cones.ports_before(cell["CK"]) == {CLOCK}
        }
        own = [cones.ports_before(cones.cuts[name]["D"]) for name in registers]
        rest = [
            cones.ports_before([*cell["D"], *cell["CK"]])
            for name, cell in cones.cuts.items()
            if name not in registers
        ]
        rest.append(cones.ports_before(cones.outputs))
        shared |= set().union(*own) & set().union(*rest)
        found.append(registers)
    return sorted(set.intersection(*found)), sorted(shared - {CLOCK})


class _Cones:
    """What the bits of a module in Yosys' JSON depend on."""

    def __init__(self, module: dict[str, Any]) -> None:
        self.drivers: dict[int, tuple[str, dict[str, Any]]] = {}
        self.cuts: dict[str, dict[str, Any]] = {}
        self.inputs: dict[int, str] = {}
        self.outputs: list[int] = []
        for name, cell in module["cells"].items():
            if cell["type"] == "CUT":
                self.cuts[name] = cell["connections"]
            for port, bits in cell["connections"].items():
                if cell["port_directions"][port] == "output":
                    self.drivers |= dict.fromkeys(bits, (name, cell))
        for name, port in module["ports"].items():
            if port["direction"] == "input":
                self.inputs |= dict.fromkeys(port["bits"], name)
            else:
                self.outputs += port["bits"]

    def _before(self, bits: list[int]) -> tuple[set[str], set[str]]:
        """Ports and cut registers that the bits depend on, without passing a cut register."""
        ports: set[str] = set()
        cuts: set[str] = set()
        seen, stack = set(bits), list(bits)
        while stack:
            bit = stack.pop()
            if bit in self.inputs:
                ports.add(self.inputs[bit])
            elif bit in self.drivers:
                name, cell = self.drivers[bit]
                if cell["type"] == "CUT":
                    cuts.add(name)
                    continue
                for port, inner in cell["connections"].items():
                    if cell["port_directions"][port] == "input":
                        stack += [b for b in inner if b not in seen]
                        seen |= set(inner)
        return ports, cuts

    def ports_before(self, bits: list[int]) -> set[str]:
        """Names of the input ports."""
        return self._before(bits)[0]

    def cuts_before(self, bits: list[int]) -> set[str]:
        """Names of the cut registers."""
        return self._before(bits)[1]


def legal(spec: MacSpec) -> list[str]:
    """Options of `sat` for every number of lanes: precisions that fit into a lane."""
    cases = []
    for n, lanes in enumerate(spec.lane_counts):
        low, high = (spec.w_width // lanes - 1).bit_length(), (spec.w_width - 1).bit_length()
        bits = [f"-set in_{port}_bits[{k}] 0" for port in "wa" for k in range(low, high)]
        cases.append(" ".join([f"-set in_lanes {n}", *bits]))
    return cases


def _script(files: tuple[Path, Path], top: str, mutation: str, folder: Path) -> list[str]:
    """Yosys commands: the circuit (gold) and the mutant (gate) with cut registers."""
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
