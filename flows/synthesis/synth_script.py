"""The Yosys script of the synthesis, and what its log tells about a bad design."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from flows.cells.liberty_write import to_liberty
from flows.cells.library_cache import plain
from flows.console import FlowError
from flows.library import Cell, Library
from flows.synthesis import yosys
from flows.synthesis.sources import elaborate, reader

SOURCE = "source.il"


@dataclass(frozen=True, kw_only=True)
class Options:
    """How to synthesise.

    `clock_ps` is the period that mapping aims at, at the library's own supply. `clock_gating` turns
    enables of at least `min_gated` flip-flops into integrated clock gates. `booth` recodes
    multipliers written as `*`; `extract_fa` maps full adders that are written out in gates, as in a
    reduction tree, onto the library's full and half adder cells (None: where it has them). Carry
    chains stay with ABC, which makes them faster (decision 0004). `hierarchical` maps every module
    once and flattens afterwards: for designs of many equal blocks between registers. `include` are
    folders of included files, `define` macros (NAME or NAME=VALUE), `parameters` the top's
    (NAME=VALUE).
    """

    clock_ps: float = 2000.0
    clock_gating: bool = True
    min_gated: int = 3
    booth: bool = False
    extract_fa: bool | None = None
    hierarchical: bool = False
    dont_use: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    define: tuple[str, ...] = ()
    parameters: tuple[str, ...] = ()

    def stated(self) -> dict[str, Any]:
        """The options by name; those of reading the sources only where they are given."""
        reading = ("include", "define", "parameters")
        return {k: v for k, v in asdict(self).items() if v or k not in reading}


def script(
    sources: list[Path],
    top: str,
    library: Library,
    options: Options,
    folder: Path,
    json_file: Path,
) -> list[str]:
    """Yosys commands from the sources to a flat netlist of library cells in `json_file`.

    `folder` takes the files that the commands need, and the design as it was read (`SOURCE`).
    """
    liberty = f"-liberty {yosys.quote(_plain_liberty(library, folder))}"
    constraints = folder / "abc.constr"
    constraints.write_text(f"set_driving_cell {_driver(library)}\nset_load {_load(library)}\n")
    avoid = " ".join(f"-dont_use {name}" for name in _avoid(library, options))
    abc = f"abc {liberty} -constr {yosys.quote(constraints)} -D {options.clock_ps:g} {avoid}"
    return [
        *(reader(source, options.include, options.define) for source in sources),
        *elaborate(top, options.parameters),
        f"write_rtlil {yosys.quote(folder / SOURCE)}",
        "proc",
        *([] if options.hierarchical else ["flatten"]),
        "opt_clean",
        "check",  # the log is searched for its warnings
        "opt -full",
        "wreduce",
        "peepopt",
        "opt_clean",
        *(["booth"] if options.booth else []),
        "alumacc",
        "opt",
        "memory_map",
        "opt -undriven -fine",
        *_full_adders(library, options, folder),
        "techmap",
        "opt -fast",
        "setattr -unset init",  # cells have no initial value: a design starts by its reset
        *_gates(liberty, avoid, options),
        f"dfflibmap {liberty} {avoid}",
        "opt -fast",
        abc,
        *(["flatten"] if options.hierarchical else []),
        "opt_clean -purge",
        f"write_json {yosys.quote(json_file)}",
    ]


_NAME = rb'\s*"?\w+(?:\[\d+\])?"?\s*'
_GROUPED = re.compile(rb"\bpin\s*\(" + _NAME + rb",|\brelated_pin\s*:\s*\"\s*[\w\[\]]+\s+\w")


def _plain_liberty(library: Library, folder: Path) -> Path:
    """The library as a file that Yosys and ABC read, which is never compressed.

    ABC takes one name to a pin and to a related pin: where a library groups several, it gets the
    library in our words.
    """
    if library.path is None:
        raise FlowError(f"library {library.name} has no file; load it from one.")
    if _GROUPED.search(plain(library.path)):
        cells = {c.name: c for c in library.cells.values() if c.kind not in ("latch", "other")}
        words = folder / "library.lib"
        words.write_text(to_liberty(replace(library, cells=cells), library.name), encoding="utf-8")
        return words
    with library.path.open("rb") as raw:
        if raw.read(2) != b"\x1f\x8b":
            return library.path.resolve()
    text = folder / "library.lib"
    text.write_bytes(plain(library.path))
    return text


def _driver(library: Library) -> str:
    """The smallest buffer, as what drives the inputs."""
    return _smallest(library, 1, {(0, 1)}) or _smallest(library, 1, {(1, 0)}) or ""


def _smallest(library: Library, inputs: int, tables: set[tuple[int, ...]]) -> str | None:
    """The smallest usable cell with that many inputs and exactly these output functions."""
    found = [
        cell
        for cell in library.cells.values()
        if cell.kind == "comb"
        and not cell.dont_use
        and len(cell.inputs) == inputs
        and {_table(cell, pin) for pin in cell.outputs} == tables
    ]
    return min(found, key=lambda cell: (cell.area_um2, cell.name)).name if found else None


def _table(cell: Cell, pin: str) -> tuple[int, ...]:
    function = cell.pins[pin].function
    return function.truth_table(cell.inputs) if function else ()


def _load(library: Library) -> float:
    """fF on every output: an input of the smallest buffer."""
    cell = library.cells[_driver(library)]
    return cell.pins[cell.inputs[0]].capacitance_ff


def _avoid(library: Library, options: Options) -> list[str]:
    """Cells that must not be used: marked so in the library, of no use to us, or on request."""
    unfit = [c.name for c in library.cells.values() if c.dont_use or c.kind in ("latch", "other")]
    return sorted({*unfit, *options.dont_use})


def _gates(liberty: str, avoid: str, options: Options) -> list[str]:
    if not options.clock_gating:
        return []
    return [f"clockgate {liberty} {avoid} -min_net_size {options.min_gated}"]


_SUM, _CARRY = (0, 1, 1, 0, 1, 0, 0, 1), (0, 0, 0, 1, 0, 1, 1, 1)
_HALF_SUM, _HALF_CARRY = (0, 1, 1, 0), (0, 0, 0, 1)


def _full_adders(library: Library, options: Options, folder: Path) -> list[str]:
    """Extract full and half adders and map them onto the library's cells.

    `$alu` cells are not lowered yet: extracted from them, ripple chains of adder cells would follow
    one another where carries pass from segment to segment.
    """
    if options.extract_fa is False:
        return []
    full = _smallest(library, 3, {_SUM, _CARRY})
    half = _smallest(library, 2, {_HALF_SUM, _HALF_CARRY})
    if full is None and options.extract_fa:
        raise FlowError(f"library {library.name} has no full adder; leave --extract-fa out.")
    if full is None:
        return []
    techmap = folder / "adders.v"
    techmap.write_text(_adder_map(library.cells[full], library.cells[half] if half else None))
    return [
        "maccmap r:NPRODUCTS>0",  # products written as `*` become trees of $fa
        "techmap t:$fa",
        "simplemap",
        "opt -fast",
        "extract_fa -fa",
        f"techmap -map {yosys.quote(techmap)}",
    ]


def _adder_map(full: Cell, half: Cell | None) -> str:
    """Verilog that replaces Yosys' $fa (sum Y, carry X) bit by bit."""

    def instance(cell: Cell, inputs: str, total: tuple[int, ...]) -> str:
        pins = [f".{p}({x}[i])" for p, x in zip(cell.inputs, inputs, strict=True)]
        pins += [f".{p}({'Y' if _table(cell, p) == total else 'X'}[i])" for p in cell.outputs]
        return f"{cell.name} cell_ ({', '.join(pins)});"

    body = instance(full, "ABC", _SUM)
    if half is not None:
        zero = instance(half, "AB", _HALF_SUM)
        body = f"if (_TECHMAP_CONSTMSK_C_[i] && !_TECHMAP_CONSTVAL_C_[i]) {zero} else {body}"
    return f"""module \\$fa (A, B, C, X, Y);
  parameter WIDTH = 1;
  parameter _TECHMAP_CONSTMSK_C_ = 0;
  parameter _TECHMAP_CONSTVAL_C_ = 0;
  input [WIDTH-1:0] A, B, C;
  output [WIDTH-1:0] X, Y;
  genvar i;
  generate for (i = 0; i < WIDTH; i = i + 1) begin : bit_
    {body}
  end endgenerate
endmodule
"""


_COMPLAINTS = (
    (
        r"Latch inferred for signal `\\?([^']+)'",
        "signal {} becomes a latch; assign it on every path",
    ),
    (
        r"found logic loop in module [^:]+:(?:\n    (?:cell |  ).*)*\n    wire \\?(\S+)",
        "it has a combinational loop through net {}; break it with a register",
    ),
    (
        r"found logic loop in module [^:]+:\n    cell (\S+)",
        "it has a combinational loop through cell {}; break it with a register",
    ),
    (r"Wire ([^\n]+?) is used but has no driver", "net {} is used but nothing drives it"),
    (r"multiple conflicting drivers for ([^:]+):", "net {} has more than one driver"),
    (
        r"Can't open include file `([^']+)'",
        "the included file {} is not found; name its folder with -I",
    ),
    (
        r"Module `\\?([^']+)' referenced in module `\\?([^']+)' .* is not part of the design",
        "none of the files has the module {}, which {} uses; name its file, too",
    ),
    (r"Module `([^']+)' not found", "none of the files has a module {}; name one with --top"),
    (r"Can't find object for defparam `([^`]+)`", "it has no parameter {}"),
    (
        r"FF \S+ \(type \S+\) cannot be legalized: dffs with async set or reset",
        "it sets or resets registers asynchronously, for which the library has no flip-flop; give "
        "a larger --liberty, or reset at the clock's edge",
    ),
)


def check_log(log: str, top: str) -> None:
    """Refuse a design that Yosys warned about: latches, loops, undriven and doubly driven nets."""
    for pattern, complaint in _COMPLAINTS:
        if match := re.search(pattern, log):
            names = (text.replace("\\", "").replace(" ", "") for text in match.groups())
            raise FlowError(f"{top} cannot be synthesised: {complaint.format(*names)}.")
