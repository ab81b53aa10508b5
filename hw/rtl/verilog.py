"""Write the MACs as Verilog: `python -m hw.rtl.verilog --all --out build/rtl`.

Beside NAME.v stands NAME.spec.json, the `MacSpec` that made it, from which benches and measurements
build their golden model.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path

from amaranth.back import verilog
from amaranth.hdl import ClockDomain, Fragment

from hw.rtl.mac import Mac
from hw.rtl.spec import SCHEMES, MacSpec


def default_specs() -> list[MacSpec]:
    """The MACs of the energy table: fixed at 1..16 bits, and every scalable scheme at 16 bits."""
    fixed = [MacSpec(scheme="fixed", w_width=k, a_width=k) for k in range(1, 17)]
    return fixed + [MacSpec(scheme=scheme) for scheme in SCHEMES if scheme != "fixed"]


def emit(spec: MacSpec) -> str:
    """The MAC's Verilog; the same text for the same spec."""
    mac = Mac(spec)
    clock = ClockDomain("sync", reset_less=True)
    fragment = Fragment.get(mac, platform=None)
    fragment.add_domains(clock)
    ports = [clock.clk, *(getattr(mac, name) for name in mac.signature.members)]
    return verilog.convert(
        fragment, name=spec.name, ports=ports, emit_src=False, strip_internal_attrs=True
    )


def write(spec: MacSpec, out: Path) -> Path:
    """Write NAME.v and NAME.spec.json into `out`, each beside its place and then renamed."""
    out.mkdir(parents=True, exist_ok=True)
    texts = {
        f"{spec.name}.v": emit(spec),
        f"{spec.name}.spec.json": json.dumps(asdict(spec), indent=1),
    }
    for name, text in texts.items():
        beside = out / f".{name}.{os.getpid()}"
        try:
            beside.write_text(text + "\n", encoding="utf-8")
            beside.replace(out / name)
        finally:
            beside.unlink(missing_ok=True)
    return out / f"{spec.name}.v"


def read_spec(path: Path | str) -> MacSpec:
    """The spec of a NAME.spec.json; ValueError where it is none."""
    try:
        return MacSpec(**json.loads(Path(path).read_text(encoding="utf-8")))
    except (json.JSONDecodeError, UnicodeDecodeError, TypeError) as error:
        raise ValueError(f"{path} is not the spec of a MAC ({error}).") from None


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(prog="python -m hw.rtl.verilog", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every MAC of the energy table")
    parser.add_argument("--scheme", default="fixed", help=f"one of {', '.join(SCHEMES)}")
    parser.add_argument("--w-width", type=int, default=16, metavar="BITS", help="weight bits (16)")
    parser.add_argument(
        "--a-width", type=int, default=16, metavar="BITS", help="activation bits (16)"
    )
    parser.add_argument(
        "--min-lane", type=int, default=4, metavar="BITS", help="smallest subword (4)"
    )
    parser.add_argument(
        "--guard-bits", type=int, default=8, metavar="BITS", help="above the product (8)"
    )
    parser.add_argument("--out", type=Path, default=Path("build/rtl"), help="folder (build/rtl)")
    args = parser.parse_args(arguments)
    try:
        one = {
            k: getattr(args, k) for k in ("scheme", "w_width", "a_width", "min_lane", "guard_bits")
        }
        specs = default_specs() if args.all else [MacSpec(**one)]
        for spec in specs:
            print(write(spec, args.out))
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
