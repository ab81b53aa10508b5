"""Mutation test of a MAC's bench: `python -m flows.mutate --synth build/synth --out build/mutants`.

Yosys puts single mutations into the gate netlist (an inverted, constant or conditionally inverted
pin), all into one netlist, selected by a port `mutant`. The bench of the MAC then runs on each
until its first mismatch. A mutant that it cannot tell from the circuit has to be proved equivalent
(`flows.proof.mutant_proof`), or the bench lacks a case. Exit status: 0 enough killed and every
survivor explained, 1 not so, 2 bad input.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from flows import console
from flows.console import FlowError, write_text
from flows.proof.mutant_proof import Proof, prove
from flows.synthesis import yosys
from hw.command import Parser
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import read_spec
from hw.tb import harness

DESIGNS = ("mac_dg_16", "mac_dvafs_16", "mac_dvafs_st_16")
REQUIRED = 0.95  # of the mutants have to be killed


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One mutation, as Yosys' `mutate` names it: a mode, a cell's pin, the command itself."""

    number: int
    mode: str
    cell: str
    port: str
    command: str

    def __str__(self) -> str:
        return f"mutant {self.number}, {self.mode} at {self.cell}.{self.port}"


def mutants(files: tuple[Path, Path], top: str, count: int, seed: int, out: Path) -> list[Mutant]:
    """Write NAME.mutants.v with `count` mutations of the netlist; returns them, numbered from 1.

    `files` are the netlist and its cells' models.
    """
    with tempfile.TemporaryDirectory(prefix="quanos-mutate-") as folder:
        listing = Path(folder) / "list"  # `mutate` takes no path in quotes
        with console.writing(out / f"{top}.mutants.v") as beside:
            yosys.run(
                [
                    f"read_verilog -lib {yosys.quote(files[1])}",
                    f"read_verilog {yosys.quote(files[0])}",
                    f"hierarchy -top {top}",
                    f"mutate -list {count} -seed {seed} -ctrl mutant {count.bit_length()} 1 "
                    f"-o {listing}",
                    f"script {listing}",
                    "opt_clean",
                    f"select {top}",
                    f"write_verilog -noattr -selected {yosys.quote(beside)}",
                ],
                top,
            )
        lines = listing.read_text(encoding="utf-8").splitlines()
    return [_mutant(number, line) for number, line in enumerate(lines, 1)]


def _mutant(number: int, line: str) -> Mutant:
    words = line.split(" -src")[0].split()
    named = dict(pairwise(words))
    return Mutant(
        number=number,
        mode=named["-mode"],
        cell=named["-cell"].lstrip("\\"),
        port=named["-port"].lstrip("\\"),
        command=line,
    )


def _parser() -> Parser:
    parser = Parser("python -m flows.mutate", __doc__)
    parser.add_argument("--rtl", type=Path, default=Path("build/rtl"), help="specs (build/rtl)")
    parser.add_argument(
        "--synth", type=Path, default=Path("build/synth"), help="netlists (build/synth)"
    )
    parser.add_argument(
        "--designs", nargs="+", default=list(DESIGNS), metavar="NAME", help=f"({' '.join(DESIGNS)})"
    )
    parser.add_argument("--build", type=Path, default=Path("build/sim"), help="builds (build/sim)")
    parser.add_argument("--count", type=int, default=200, help="mutants of each design (200)")
    parser.add_argument("--vectors", type=int, default=5000, help="as hw.tb.harness has it (5000)")
    parser.add_argument("--seed", type=int, default=1, help="of mutations and operands (1)")
    parser.add_argument("--out", type=Path, default=Path("build/mutants"), help="(build/mutants)")
    parser.add_plan()
    parser.add_json()
    return parser


@dataclass(frozen=True, kw_only=True)
class Campaign:
    """What became of a design's mutants."""

    design: str
    mutants: list[Mutant]
    killed: dict[int, str]
    proofs: dict[int, Proof]
    seconds: float

    @property
    def passed(self) -> bool:
        """Whether enough were killed and every survivor is equivalent."""
        enough = len(self.killed) >= REQUIRED * len(self.mutants)
        return enough and all(proof.equivalent for proof in self.proofs.values())

    def report(self) -> str:
        """The count, and every survivor with its reason."""
        share = len(self.killed) / len(self.mutants)
        lines = [
            f"{self.design}: {len(self.killed)} of {len(self.mutants)} mutants killed "
            f"({100 * share:.1f} %, {100 * REQUIRED:.0f} % asked), {self.seconds:.0f} s"
        ]
        alive = [m for m in self.mutants if m.number in self.proofs]
        lines += [f"  survives: {m}: {self.proofs[m.number].reason}" for m in alive]
        return "\n".join(lines)


def campaign(spec: MacSpec, arguments: argparse.Namespace) -> Campaign:
    """Make, run and judge the mutants of one design."""
    began = time.perf_counter()
    files = harness.netlist(arguments.synth, spec.name)
    found = mutants(files, spec.name, arguments.count, arguments.seed, arguments.out)
    verilog = arguments.out / f"{spec.name}.mutants.v"
    design = harness.Design(spec=spec, sources=(verilog, files[1]))
    numbers = [mutant.number for mutant in found]
    mismatches = harness.run_mutants(
        design, numbers, arguments.build, vectors=arguments.vectors, seed=arguments.seed
    )
    proofs = {
        mutant.number: prove(files, spec, mutant.command)
        for mutant in found
        if not mismatches[mutant.number]
    }
    return Campaign(
        design=spec.name,
        mutants=found,
        killed={number: text for number, text in mismatches.items() if text},
        proofs=proofs,
        seconds=time.perf_counter() - began,
    )


def main() -> int:
    """Mutate the netlists and report; status 1 where the bench tells too few of them apart."""
    parser = _parser()
    arguments = parser.parse_args()
    if arguments.count < 1 or arguments.vectors < 1 or arguments.seed < 0:
        parser.error("--count and --vectors must be at least 1 and --seed at least 0")
    if arguments.plan:
        from flows.planning import mutate_plan

        places = arguments.rtl, arguments.synth, arguments.out
        plan = mutate_plan(arguments.designs, *places, arguments.count, arguments.vectors)
        plan.give(as_json=arguments.json)
        return 0
    passed, results = True, []
    for name in arguments.designs:
        path = arguments.rtl / f"{name}.spec.json"
        if not path.exists():
            raise FlowError(f"{path} is missing; write it with python -m hw.rtl.verilog --all.")
        result = campaign(read_spec(path), arguments)
        write_text(arguments.out / f"{name}.mutants.json", json.dumps(asdict(result), indent=1))
        print(result.report(), file=sys.stderr if arguments.json else sys.stdout)
        results.append(asdict(result) | {"passed": result.passed})
        passed &= result.passed
    if arguments.json:
        console.print_json({"campaigns": results})
    if not passed:
        print("error: the bench does not tell enough mutants from the circuit.", file=sys.stderr)
    return 0 if passed else 1


if __name__ == "__main__":
    console.run(main)
