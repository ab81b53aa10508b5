"""Gate delays in whole time steps, and what they mean.

A gate's output first follows `z(t) = f(x_1(t - d_1), ..., x_n(t - d_n))`, every input delayed on
its own and every pulse passed. Then comes a filter with a rise time r and a fall time f: the output
rises once z has been 1 for r steps and falls once z has been 0 for f steps, so that shorter pulses
vanish. An edge from input i thus takes d_i + r or d_i + f steps.

`reject` says how much of the gate's delay filters: at 1 the shortest path through the gate does
(Verilog's inertial delay, a gate answers to no pulse shorter than its own delay), at 0 (transport)
no more than the difference between rise and fall does, without which edges could overtake. The
choice matters: a conventional 16-bit MAC takes 4.0 pJ at 1 and 7.6 pJ at 0, uniform codes, 1.0 V.
The default step is fine enough: 1 ps instead of 5 ps moves that energy by 2 %.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.library import EDGES, Arc, Library
from flows.netlist import Netlist
from flows.timing import Conditions, Timing, analyse

Delay = tuple[float, float]  # ps to the rising and to the falling edge of an output
STEP_PS = 5.0
REJECT = 1.0


@dataclass(frozen=True, slots=True)
class GateDelay:
    """Steps: `inputs[i]` is d_i of the gate's i-th input; `rise` and `fall` are the filter's."""

    inputs: tuple[int, ...]
    rise: int = 0
    fall: int = 0

    @classmethod
    def of(cls, rise: tuple[int, ...], fall: tuple[int, ...], reject: float) -> GateDelay:
        """From the delays of each input to the output's (rising, falling) edge, in steps.

        The filter takes one rise-fall difference for the gate, the mean over its inputs; each
        input keeps its mean delay to within one step, and takes one step at least.
        """
        if not rise:
            return cls(())
        skew = round(sum(r - f for r, f in zip(rise, fall, strict=True)) / len(rise))
        doubled = (r + f - abs(skew) for r, f in zip(rise, fall, strict=True))
        inputs = tuple(max(1, (twice + 1) // 2) for twice in doubled)
        shared = round(reject * min(inputs))
        inputs = tuple(d - shared for d in inputs)
        return cls(inputs, shared + max(skew, 0), shared + max(-skew, 0))


@dataclass(frozen=True)
class Delays:
    """Delays of a circuit: one entry per gate, and (rise, fall) arrival steps of the sources.

    Step 0 is the clock's edge; a source's arrival is a flip-flop's clock-to-output delay, or the
    time at which a data input changes.
    """

    step_ps: float
    gates: tuple[GateDelay, ...]
    sources: Mapping[int, tuple[int, int]]

    @classmethod
    def unit(cls, circuit: Circuit, steps: int = 1, reject: float = 0.0) -> Delays:
        """The same delay for every gate, all sources at step 0."""
        gates = tuple(
            GateDelay.of((steps,) * len(g.inputs), (steps,) * len(g.inputs), reject)
            for g in circuit.gates
        )
        return cls(1.0, gates, dict.fromkeys(circuit.sources, (0, 0)))

    @classmethod
    def zero(cls, circuit: Circuit) -> Delays:
        """Every net takes its settled value at step 0."""
        gates = tuple(GateDelay((0,) * len(g.inputs)) for g in circuit.gates)
        return cls(1.0, gates, dict.fromkeys(circuit.sources, (0, 0)))

    @classmethod
    def nldm(
        cls,
        circuit: Circuit,
        library: Library,
        *,
        step_ps: float = STEP_PS,
        reject: float = REJECT,
        conditions: Conditions | None = None,
    ) -> Delays:
        """From the library's tables by slew and load (`flows.timing`); data inputs at step 0."""
        check_step(step_ps, reject)
        found = instance_delays(circuit.netlist, library, conditions=conditions)

        def steps(instance: int, pin: str, related: str) -> tuple[int, int]:
            rise, fall = found[instance, pin][related]
            return round(rise / step_ps), round(fall / step_ps)

        gates = []
        for gate in circuit.gates:
            edges = [steps(gate.instance, gate.pin, pin) for pin in gate.function.inputs]
            rise, fall = tuple(r for r, _ in edges), tuple(f for _, f in edges)
            gates.append(GateDelay.of(rise, fall, reject))
        sources = dict.fromkeys(circuit.data_inputs, (0, 0))
        for ff in circuit.flipflops:
            for net, _, pin in ff.outputs:
                sources[net] = steps(ff.instance, pin, ff.clock_pin)
        return cls(step_ps, tuple(gates), sources)


def check_step(step_ps: float, reject: float) -> None:
    """Refuse a time step or a pulse rejection that cannot be."""
    if not step_ps > 0:
        raise FlowError(f"the time step must be more than 0 ps, not {step_ps:g}.")
    if not 0 <= reject <= 1:
        raise FlowError(f"pulse rejection must lie between 0 and 1, not {reject:g}.")


def instance_delays(
    netlist: Netlist,
    library: Library,
    timing: Timing | None = None,
    conditions: Conditions | None = None,
) -> dict[tuple[int, str], dict[str, Delay]]:
    """Delays in ps of every (instance index, output pin): {input pin: (to its rise, to its fall)}.

    Slews are the worst ones of `timing` (of `analyse` without constants by default); where an arc
    depends on the side inputs' state or on the input's edge, the mean over what can happen.
    Registers answer for their clock pin. Clock gates are part of the ideal clock and left out.
    """
    conditions = conditions or Conditions()
    timing = timing or analyse(netlist, library, None, conditions)
    loads = netlist.loads_ff(library, wire_scale=conditions.wire_scale, port_ff=conditions.port_ff)
    delays: dict[tuple[int, str], dict[str, Delay]] = {}
    for i, instance in enumerate(netlist.instances):
        cell = library.cells[instance.cell]
        for (pin, related), arcs in cell.arcs_between.items():
            if cell.kind == "clockgate" or pin not in instance.pins:
                continue
            load = loads[instance.pins[pin]]
            slew = timing.slew_ps[instance.pins[related]]
            rise, fall = (_mean_delay(arcs, edge, slew, float(load[edge])) for edge in (0, 1))
            delays.setdefault((i, pin), {})[related] = (rise, fall)
    return delays


def _mean_delay(arcs: tuple[Arc, ...], edge: int, slew: list[float], load: float) -> float:
    found = []
    for arc in arcs:
        if tables := arc.tables(EDGES[edge]):
            if arc.kind != "combinational":
                found.append(tables[0].at(slew[arc.kind == "falling_edge"], load))
                continue
            if arc.sense != "negative_unate":
                found.append(tables[0].at(slew[edge], load))
            if arc.sense != "positive_unate":
                found.append(tables[0].at(slew[1 - edge], load))
    return max(0.0, sum(found) / len(found)) if found else 0.0
