"""Proof that gate netlists do what their Verilog says, for every input in every state.

`python -m flows.equivalence --rtl build/rtl --synth build/synth` proves every design that stands in
both folders; `python -m flows.equivalence DESIGN.v... --netlist NAME.netlist.json` one of them.
Both sides are cut at their registers (flows.proof.cut), so that equal next states and outputs
remain to be proved, by the engine `sweep` or, where it is small enough, `sat`
(flows.proof.engines). Exit status: 0 nothing differs, 1 a netlist differs from its design, 2 bad
input.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from flows import console
from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.library import Library
from flows.netlist import Netlist
from flows.proof.correspondence import name_registers
from flows.proof.cut import PASSES, cut_design, cut_netlist, register_names
from flows.proof.engines import DIFFERENT, ENGINES, EQUAL, UNDECIDED
from flows.synthesis import yosys
from hw.command import Parser
from hw.plan import Plan, Step


@dataclass(frozen=True, kw_only=True)
class Proof:
    """What became of one proof; `detail` is a counterexample or why nothing was decided."""

    top: str
    registers: int
    engine: str
    verdict: str
    seconds: float
    detail: str = ""


@dataclass(frozen=True)
class Pair:
    """A design and the netlist that claims to be it."""

    sources: tuple[Path, ...]
    netlist: Path

    @property
    def top(self) -> str:
        """Name of the design's top."""
        return self.netlist.name.removesuffix(".netlist.json")


def pairs_in(rtl: Path, synth: Path) -> list[Pair]:
    """Every NAME.v in `rtl` with a NAME.netlist.json in `synth`; FlowError where there is none."""
    found = [
        Pair((rtl / f"{path.name.removesuffix('.netlist.json')}.v",), path)
        for path in sorted(synth.glob("*.netlist.json"), key=lambda p: (len(p.name), p.name))
    ]
    found = [pair for pair in found if pair.sources[0].exists()]
    if not found:
        raise FlowError(
            f"no design stands in both {rtl} and {synth}; write Verilog with "
            f"`python -m hw.rtl.verilog` and netlists with `python -m flows.synth`."
        )
    return found


def prove(pair: Pair, library: Library, engine: str, limit_s: float) -> Proof:
    """Try to prove that a netlist is its design, for `limit_s` seconds of the engine."""
    circuit = Circuit.of(Netlist.load(pair.netlist, library, pair.top), library)
    count = len(circuit.flipflops)
    with tempfile.TemporaryDirectory(prefix="quanos-equivalence-") as name:
        folder, began = Path(name), time.perf_counter()
        lone = prepare(pair, circuit, folder)
        if lone:
            detail = f"without counterpart: {', '.join(sorted(lone)[:5])}"
            verdict = UNDECIDED
        else:
            began = time.perf_counter()
            try:
                verdict, detail = ENGINES[engine](folder, limit_s)
            except subprocess.TimeoutExpired:
                verdict, detail = UNDECIDED, f"not decided in {limit_s:g} s"
        seconds = time.perf_counter() - began
    return Proof(
        top=pair.top,
        registers=count,
        engine=engine,
        verdict=verdict,
        seconds=seconds,
        detail=detail,
    )


def prepare(pair: Pair, circuit: Circuit, folder: Path) -> set[str]:
    """Write both cut circuits, gold.json and gate.v; returns registers without counterpart."""
    gold, raw = folder / "gold.json", folder / "raw.json"
    reads = [f"read_verilog -sv {yosys.quote(source)}" for source in pair.sources]
    flat = [*reads, f"hierarchy -check -top {pair.top}", *PASSES, f"write_json {yosys.quote(raw)}"]
    yosys.run(flat, pair.top)
    module = _module(raw, pair.top)
    _write(raw, cut_design(module, register_names(circuit)))
    gates = ["techmap", "opt_clean", "aigmap", "opt_clean"]
    yosys.run(
        [f"read_json {yosys.quote(raw)}", *gates, f"write_json {yosys.quote(gold)}"], pair.top
    )
    named, lone = name_registers(_module(gold, "gold"), circuit)
    _write(gold, named)
    (folder / "gate.v").write_text(cut_netlist(circuit, "gate"), encoding="utf-8")
    return lone


def _module(path: Path, name: str) -> dict[str, Any]:
    modules = json.loads(path.read_text(encoding="utf-8"))["modules"]
    return dict(modules[name])


def _write(path: Path, module: dict[str, Any]) -> None:
    path.write_text(json.dumps({"modules": {"gold": module}}), encoding="utf-8")


def prove_all(
    pairs: list[Pair], library: Library, engine: str, limit_s: float, workers: int
) -> Iterator[Proof]:
    """Proofs in the pairs' order, `workers` at a time."""
    with ThreadPoolExecutor(workers) as pool:
        yield from pool.map(lambda pair: prove(pair, library, engine, limit_s), pairs)


def table(proofs: list[Proof]) -> str:
    """Proofs as aligned text."""
    lines = [f"{'design':<28}{'registers':>10}{'engine':>8}{'seconds':>9}  verdict"]
    for p in proofs:
        lines.append(
            f"{p.top:<28}{p.registers:>10}{p.engine:>8}{p.seconds:>9.1f}  {p.verdict}"
            f"{f': {p.detail}' if p.detail else ''}"
        )
    return "\n".join(lines)


def _parser() -> argparse.ArgumentParser:
    parser = Parser("python -m flows.equivalence", __doc__)
    parser.add_argument("sources", nargs="*", type=Path, metavar="DESIGN.v")
    parser.add_argument("--netlist", type=Path, help="NAME.netlist.json of the design NAME")
    parser.add_argument("--rtl", type=Path, metavar="DIR", help="prove every design in DIR")
    parser.add_argument("--synth", type=Path, metavar="DIR", help="its netlists are in DIR")
    parser.add_argument("--top", nargs="+", metavar="NAME", help="only these designs of DIR")
    parser.add_argument("--liberty", type=Path, help="the netlists' library (default: shipped)")
    parser.add_argument("--engine", choices=list(ENGINES), default="sweep")
    parser.add_argument("--limit", type=float, default=120.0, metavar="S", help="seconds a proof")
    parser.add_argument("--workers", type=int, default=2, help="proofs at a time (default: 2)")
    parser.add_json()
    parser.add_plan()
    return parser


def main() -> int:
    """Prove netlists equal to their Verilog; status 1 where one differs."""
    parser = _parser()
    arguments = parser.parse_args()
    if bool(arguments.rtl) != bool(arguments.synth) or bool(arguments.sources) == bool(
        arguments.rtl
    ):
        parser.error("give either --rtl DIR --synth DIR or DESIGN.v... --netlist FILE")
    if bool(arguments.sources) != bool(arguments.netlist):
        parser.error("DESIGN.v... and --netlist FILE belong together")
    if not arguments.limit > 0 or arguments.workers < 1:
        parser.error("--limit and --workers must be positive")
    pairs = _chosen(arguments)
    if arguments.plan:
        _plan(pairs, arguments).give(as_json=arguments.json)
        return 0
    library = Library.load(arguments.liberty)
    run = prove_all(pairs, library, arguments.engine, arguments.limit, arguments.workers)
    proofs = list(
        console.track(
            run, "proof", len(pairs), label=lambda p: f"{p.top}, {p.verdict}, {p.seconds:.1f} s"
        )
    )
    if arguments.json:
        console.print_json({"proofs": [asdict(proof) for proof in proofs]})
    else:
        print(table(proofs))
        print(summary(proofs, arguments.limit))
    return 1 if any(proof.verdict == DIFFERENT for proof in proofs) else 0


def _plan(pairs: list[Pair], arguments: argparse.Namespace) -> Plan:
    """A proof for each pair; how long one takes is not known before it has ended."""
    steps = [
        Step(name=pair.top, work=f"engine {arguments.engine}", seconds=arguments.limit)
        for pair in pairs
    ]
    basis = f"at most: each proof is given up after --limit {arguments.limit:g} s"
    writes = ["nothing; the verdicts are printed"]
    return Plan(steps=steps, writes=writes, basis=basis, workers=arguments.workers)


def _chosen(arguments: argparse.Namespace) -> list[Pair]:
    if arguments.sources:
        return [Pair(tuple(arguments.sources), arguments.netlist)]
    pairs = pairs_in(arguments.rtl, arguments.synth)
    known = {pair.top for pair in pairs}
    if unknown := sorted(set(arguments.top or ()) - known):
        raise FlowError(f"no design {unknown[0]}; there are {', '.join(sorted(known))}.")
    return [pair for pair in pairs if not arguments.top or pair.top in arguments.top]


def summary(proofs: list[Proof], limit_s: float) -> str:
    """One sentence: how many of each verdict, and where it stopped."""
    counts = [sum(p.verdict == verdict for p in proofs) for verdict in (EQUAL, DIFFERENT)]
    stopped = [p.top for p in proofs if p.verdict == UNDECIDED]
    return (
        f"{counts[0]} of {len(proofs)} proved equal for every input in every state, {counts[1]} "
        f"different; undecided within {limit_s:g} s each: {', '.join(stopped) or 'none'}."
    )


if __name__ == "__main__":
    console.run(main)
