"""Replay a circuit with its quantised delays in Icarus Verilog and count transitions in its VCD.

The delays' definition (`flows.simulator.delays`) in Verilog, in quarters of a step. Within one
instant Icarus takes events one by one: a first inertial quarter lets no pulse of no width through,
which would restart the filter, and the filter's own delays end between steps, where nothing else
happens.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from flows.benches import replay
from flows.gates.circuit import Circuit, Gate
from flows.simulator.delays import Delays, GateDelay
from flows.simulator.functional import Bits

IVERILOG = shutil.which("iverilog")
UNIT = 4  # time units of a step
VCD = "replay.vcd"


def edges(
    circuit: Circuit, delays: Delays, inputs: Mapping[int, Bits], warmup: int, folder: Path
) -> list[list[int]]:
    """[rising, falling] transitions of every net from cycle `warmup` on; `inputs[net]` has shape
    (cycles,)."""
    period = build(circuit, delays, inputs, folder)
    run(folder)
    return _count(folder / VCD, len(circuit.netlist.nets), warmup * period)


def build(
    circuit: Circuit,
    delays: Delays,
    inputs: Mapping[int, Bits],
    folder: Path,
    *,
    plain: bool = False,
) -> int:
    """Write and compile the replay; its clock period in time units.

    `plain` gives a gate one inertial (rise, fall) delay, the mean over its inputs: not our
    definition, but the fewest events that Icarus can do with.
    """
    settle = 2 + max([max(p) for p in delays.sources.values()], default=0)
    settle += sum(max(d.inputs, default=0) + max(d.rise, d.fall) for d in delays.gates)
    period = UNIT * min(settle, 20_000)
    cycles = len(next(iter(inputs.values())))
    source, stimulus = folder / "replay.v", folder / "replay.txt"
    rows = zip(*(inputs[net] for net in circuit.data_inputs), strict=True)
    stimulus.write_text("".join("".join(map(str, row)) + "\n" for row in rows))
    lines = _module(circuit, delays, period, cycles, folder, plain)
    source.write_text("\n".join(lines))
    command = [IVERILOG or "iverilog", "-g2005", "-o", str(folder / "replay.vvp"), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return period


def run(folder: Path) -> None:
    """Simulate what `build` compiled, writing the VCD of all nets."""
    subprocess.run(["vvp", "-n", str(folder / "replay.vvp")], check=True, capture_output=True)


def _module(
    circuit: Circuit, delays: Delays, period: int, cycles: int, folder: Path, plain: bool
) -> Iterator[str]:
    width = len(circuit.data_inputs)
    yield f"`timescale 1ps/1ps\nmodule replay;\nreg clk; reg [0:{width - 1}] x;"
    yield f"reg [0:{width - 1}] memory [0:{cycles - 1}]; integer i;"
    yield replay.declarations(circuit)
    for k, net in enumerate(circuit.data_inputs):
        yield f"assign {_pair(delays.sources[net])} n{net} = x[{k}];"
    yield from replay.clocks(circuit)
    yield from replay.registers(circuit, lambda net: _pair(delays.sources[net]))
    for i, (gate, delay) in enumerate(zip(circuit.gates, delays.gates, strict=True)):
        yield from [_plain(gate, delay)] if plain else _gate(i, gate, delay)
    stimulus = folder / "replay.txt"
    yield f'initial begin $readmemb("{stimulus}", memory); $dumpfile("{folder / VCD}");'
    yield "$dumpvars(1, replay); clk = 0; x = memory[0];"
    yield f"for (i = 1; i < {cycles}; i = i + 1) begin"
    # The clock rises half a unit of the period after the cycle's inputs have settled.
    yield f"#{period // 2} clk = 0; #{period - period // 2} clk = 1; x <= memory[i]; end"
    yield f"#{period // 2} clk = 0; #{period - period // 2 - 1} $finish; end\nendmodule"


def _pair(delay: tuple[int, int]) -> str:
    return f"#({UNIT * delay[0]},{UNIT * delay[1]})"


def _plain(gate: Gate, delay: GateDelay) -> str:
    mean = round(sum(delay.inputs) / max(1, len(delay.inputs)))
    edges = (mean + delay.rise, mean + delay.fall)
    return replay.gate(gate, _pair(edges) if any(edges) else "")


def _gate(i: int, gate: Gate, delay: GateDelay) -> Iterator[str]:
    both = bool(delay.rise and delay.fall)
    names = {}
    for pin, net, d in zip(gate.function.inputs, gate.inputs, delay.inputs, strict=True):
        names[pin] = name = f"g{i}_{pin}"
        late = f"#{UNIT * d - (not both)}"
        yield f"reg {name}; initial {name} <= {late} n{net};"
        yield f"always @(n{net}) {name} <= {late} n{net};"
    yield f"wire z{i}; wire y{i}; assign #1 z{i} = {gate.function.expression(names)};"
    if both:
        yield f"assign #({UNIT * delay.rise - 2},{UNIT * delay.fall - 2}) y{i} = z{i};"
        yield f"assign #1 n{gate.output} = y{i};"
    else:
        yield f"assign {_pair((delay.rise, delay.fall))} n{gate.output} = z{i};"


def _count(vcd: Path, nets: int, start: int) -> list[list[int]]:
    """A net that ends an instant as it began it, after a pulse of no width, did not change."""
    counts, counting = [[0, 0] for _ in range(nets)], False
    codes: dict[str, int] = {}
    last: dict[int, str] = {}
    with vcd.open() as lines:
        for line in lines:
            if line[0] == "#":
                counting = int(line[1:]) >= start
            elif line.startswith("$var"):
                name = line.split()[4]
                if name[0] == "n" and name[1:].isdecimal():
                    codes[line.split()[3]] = int(name[1:])
            elif line[0] in "01" and line[1:-1] in codes:
                net = codes[line[1:-1]]
                counts[net]["10".index(line[0])] += counting and last[net] != line[0]
                last[net] = line[0]
    return counts
