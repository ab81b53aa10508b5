"""Engines that prove two cut circuits equal, each within a time limit.

The circuits are `gold.json` (Yosys' JSON, module gold) and `gate.v` (module gate) of a folder, with
ports of the same names. An engine answers (verdict, counterexample).
"""

from __future__ import annotations

import importlib.util
import re
import subprocess
from pathlib import Path

from flows.console import FlowError
from flows.synthesis import yosys

EQUAL, DIFFERENT, UNDECIDED = "equal", "different", "undecided"


def _reads(folder: Path) -> list[str]:
    gold, gate = (yosys.quote(folder / name) for name in ("gold.json", "gate.v"))
    return [f"read_json {gold}", f"read_verilog {gate}", "proc", "opt_clean"]


def sweep(folder: Path, limit_s: float) -> tuple[str, str]:
    """ABC's `cec`: proves inner nodes that seem equal so, by SAT, and builds on them.

    Raises subprocess.TimeoutExpired.
    """
    files = [folder / f"{name}.aig" for name in ("gold", "gate")]
    commands = [*_reads(folder), "techmap", "aigmap", "opt_clean"]
    for file in files:
        commands += [f"cd {file.stem}", f"write_aiger -symbols {yosys.quote(file)}", "cd .."]
    yosys.run(commands, "the miter")
    spec = importlib.util.find_spec("pyosys")
    assert spec is not None
    assert spec.origin is not None
    abc = Path(spec.origin).with_name("yosys-abc")
    if not abc.exists():
        raise FlowError(f"{abc} is missing; use --engine sat.")
    command = [str(abc), "-c", f"cec {files[0]} {files[1]}"]
    log = subprocess.run(
        command, capture_output=True, text=True, timeout=limit_s, cwd=folder, check=False
    ).stdout
    if "Networks are equivalent" in log:
        return EQUAL, ""
    if "NOT EQUIVALENT" in log:
        return DIFFERENT, _counterexample(log)
    return UNDECIDED, log.strip().splitlines()[-1] if log.strip() else "no answer"


def _counterexample(log: str) -> str:
    """The output that differs and the inputs, of ABC's report."""
    output = re.search(r"Output (\S+): Value in Network1 = (\d)\. Value in Network2 = (\d)", log)
    inputs = re.search(r"Input pattern: *(.*)", log)
    if not output or not inputs:
        return "outputs differ"
    words = _words(dict(re.findall(r"(\S+)=([01])", inputs[1])))
    return f"{output[1]} is {output[2]} in the design and {output[3]} in the netlist, {words}"


def _words(bits: dict[str, str]) -> str:
    """Values of bits as those of words: w=0x3, q:product=0x10; bits not named are 0."""
    values: dict[str, int] = {}
    for name, value in bits.items():
        base, index = re.fullmatch(r"(.*?)(?:\[(\d+)\])?", name).groups()  # type: ignore[union-attr]
        values[base] = values.get(base, 0) | int(value) << int(index or 0)
    return ", ".join(f"{name}={value:#x}" for name, value in sorted(values.items()))


def sat(folder: Path, limit_s: float) -> tuple[str, str]:
    """The whole question as one problem for Yosys' solver. Raises subprocess.TimeoutExpired."""
    commands = [
        *_reads(folder),
        "miter -equiv -flatten -make_outputs gold gate miter",
        "techmap",
        "opt",
        "opt_clean",
        "sat -prove trigger 0 -show-inputs -show-outputs miter",
    ]
    log = yosys.run(commands, "the miter", limit_s=limit_s)
    if "SAT proof finished - no model found: SUCCESS!" in log:
        return EQUAL, ""
    if "model found: FAIL!" in log:
        return DIFFERENT, _words(_model(log))
    return UNDECIDED, "no answer"


def _model(log: str) -> dict[str, str]:
    """Bits of the inputs in the model that Yosys found."""
    found = {}
    for name, binary in re.findall(r"^ +\\\\?in_(\S+) +\S+ +\S+ +([01]+) *$", log, re.MULTILINE):
        for index, bit in enumerate(reversed(binary)):
            found[name if len(binary) == 1 else f"{name}[{index}]"] = bit
    return found


ENGINES = {"sweep": sweep, "sat": sat}
