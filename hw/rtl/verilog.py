"""Write MACs and arrays as Verilog: `python -m hw.rtl.verilog --all --out build/rtl`.

Beside a MAC's NAME.v stands NAME.spec.json, the `MacSpec` that made it, from which benches and
measurements build their golden model; beside an array's, NAME.array.json, its `ArraySpec`.
`--rows` and `--columns` ask for an array instead of a MAC.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from hw.command import Parser, guarded, print_json
from hw.rtl.spec import ENCODINGS, SCHEMES, ArraySpec, MacSpec
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
    from hw.rtl.emission import verilog  # specs are read where Amaranth is not installed, too

    return verilog(spec)


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
