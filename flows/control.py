"""Bounded proof of the array's control: `python -m flows.control`.

Whatever the three streams do in the first cycles after reset, no beat is lost, doubled, invented,
changed or out of order, offered sums stay until they are taken, weights change with tiles, and
nothing gets stuck (hw.rtl.properties says how). Yosys' solver looks at every run up to a depth; a
second search shows that runs worth proving are among them. Exit status: 0 proved, 1 refuted or not
decided, 2 bad input.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from flows import console
from flows.synthesis import yosys
from hw.command import Parser
from hw.rtl.spec import ArraySpec

TOP = "control"
PASSES = (
    "proc",
    "flatten -noscopeinfo",
    "memory_map",
    "opt -full",
    "techmap",
    "opt -fast",
    "opt_clean",
    "setattr -unset init",  # registers without a reset hold anything
)
REACHED = "reached"


@dataclass(frozen=True, kw_only=True)
class Bound:
    """What became of one property: `depth` cycles after reset hold no run that breaks it."""

    array: str
    property: str
    verdict: str
    depth: int
    seconds: float


def arrays() -> list[tuple[ArraySpec, int]]:
    """The arrays that are proved, and how deep: one element, and both skews."""
    small = {"w_width": 2, "a_width": 2, "k_max": 2, "depth": 2}
    return [
        (ArraySpec(rows=1, columns=1, **small), 14),  # type: ignore[arg-type]
        (ArraySpec(rows=2, columns=2, **small), 14),  # type: ignore[arg-type]
    ]


def prove(
    spec: ArraySpec, depth: int, limit_s: float, properties: Sequence[str] | None = None
) -> list[Bound]:
    """Prove properties of an array to `depth` (default: all), and reach what makes it worth it.

    The verdict is `holds`, `broken` or `undecided` (within `limit_s` seconds a property), and for
    the run that is to be reached `reached` or `unreachable`.
    """
    from hw.rtl.properties import BAD, emit_properties

    with tempfile.TemporaryDirectory(prefix="quanos-control-") as name:
        source, flat = Path(name) / f"{TOP}.v", Path(name) / f"{TOP}.il"
        source.write_text(emit_properties(spec, TOP), encoding="utf-8")
        reads = [f"read_verilog -sv {yosys.quote(source)}", f"hierarchy -check -top {TOP}"]
        yosys.run([*reads, *PASSES, f"write_rtlil {yosys.quote(flat)}"], spec.name)
        return [_bound(spec, flat, prop, depth, limit_s) for prop in properties or (*BAD, REACHED)]


def _bound(spec: ArraySpec, flat: Path, prop: str, depth: int, limit_s: float) -> Bound:
    began = time.perf_counter()
    commands = [
        f"read_rtlil {yosys.quote(flat)}",
        f"sat -tempinduct-baseonly -maxsteps {depth + 1} -set assumed 1 -set rst 0 "
        f"-set-at 1 rst 1 -prove {prop} 0 {TOP}",
    ]
    try:
        log = yosys.run(commands, spec.name, limit_s=limit_s)
    except subprocess.TimeoutExpired as ended:
        log = (ended.stdout or b"").decode("utf-8", "replace")
    proved = [int(n) for n in re.findall(r"induction length (\d+) proven", log)]
    cycles = max(proved, default=1) - 1  # the first step is the reset
    verdict = "holds" if cycles == depth else "undecided"
    if "model found for base case: FAIL" in log:
        verdict, cycles = "broken", cycles + 1
    if prop == REACHED:
        verdict = {"holds": "unreachable", "broken": "reached"}.get(verdict, verdict)
    return Bound(
        array=spec.name,
        property=prop.removeprefix("bad_"),
        verdict=verdict,
        depth=cycles,
        seconds=time.perf_counter() - began,
    )


def prove_all(limit_s: float, deeper: int, workers: int) -> Iterator[Bound]:
    """The bounds of all arrays, `workers` arrays at a time."""
    with ThreadPoolExecutor(workers) as pool:
        for found in pool.map(lambda job: prove(job[0], job[1] + deeper, limit_s), arrays()):
            yield from found


def good(bound: Bound) -> bool:
    """Whether a property holds to its depth, or the run to be reached is there."""
    return bound.verdict in ("holds", "reached")


def table(bounds: list[Bound]) -> str:
    """Bounds as aligned text."""
    lines = [f"{'array':<24}{'property':<11}{'cycles':>7}{'seconds':>9}  verdict"]
    for b in bounds:
        lines.append(f"{b.array:<24}{b.property:<11}{b.depth:>7}{b.seconds:>9.1f}  {b.verdict}")
    return "\n".join(lines)


def main() -> int:
    """Prove the array's control; status 1 where a property fails."""
    parser = Parser("python -m flows.control", __doc__)
    parser.add_argument("--deeper", type=int, default=0, metavar="N", help="cycles more than usual")
    parser.add_argument(
        "--limit", type=float, default=120.0, metavar="S", help="seconds a property"
    )
    parser.add_argument("--workers", type=int, default=2, help="arrays at a time (default: 2)")
    parser.add_json()
    arguments = parser.parse_args()
    if not arguments.limit > 0 or arguments.workers < 1 or arguments.deeper < 0:
        parser.error("--limit and --workers must be positive, --deeper not negative")
    from hw.rtl.properties import BAD  # its package is named by console.run where it is missing

    run = prove_all(arguments.limit, arguments.deeper, arguments.workers)
    total = len(arrays()) * (len(BAD) + 1)
    bounds = list(console.track(run, "bound", total, label=lambda b: f"{b.array} {b.property}"))
    if arguments.json:
        console.print_json({"bounds": [asdict(bound) for bound in bounds]})
    else:
        print(table(bounds))
    return 0 if all(map(good, bounds)) else 1


if __name__ == "__main__":
    console.run(main)
