"""Timing and power against OpenSTA, on full 45 nm libraries, where both are at hand.

OpenSTA 2.0.17 (Debian's, of 2019) weighs tables in ways of its own: it charges a whole rise and
fall per transition, does not share an output's transitions among its inputs, takes the operands of
every operator as independent (A ^ B depends on A half of the time), and leaks as if every input
were 1 half of the time and a clock a quarter. `definition_2019` weighs our tables, slews and loads
in the same way: agreement to fractions of a percent checks everything but the weights, and those
are what docs/energy.md says about the factor between the two.
"""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import opensta
import pytest
from mac_stimulus import mac_inputs
from test_flows_library import full_library
from test_flows_synth import MAC

from flows.activity import Simulator
from flows.gates.clocks import clock_nets
from flows.gates.netlist_write import to_verilog
from flows.netlist import Instance, Netlist
from flows.power import PowerModel
from flows.simulator.saif import Activity
from flows.stimulus import rounds
from flows.synth import synthesize
from flows.timing import analyse
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(opensta.STA is None, reason="OpenSTA (sta) is not installed"),
]
PERIOD_PS = 2000.0


@pytest.fixture(scope="module", params=["typ", "slow", "fast"])
def mac(request, tmp_path_factory):
    """(run, library, netlist): `run` gives OpenSTA's report on some commands."""
    library = full_library(request.param)
    folder = tmp_path_factory.mktemp("mac")
    (folder / "mac.v").write_text(MAC)
    synthesize([folder / "mac.v"], "mac", folder, library)
    run = opensta.session(library, folder / "mac.netlist.v", "mac", folder)
    return run, library, Netlist.load(folder / "mac.netlist.json", library)


@pytest.mark.parametrize("held", [{}, {"w[0]": 0, "a[0]": 0}, {"en": 1}])
def test_longest_path(mac, held):
    run, library, netlist = mac
    pins = opensta.held_pins(netlist, library, held)
    lines = [f"set_case_analysis {value} {pin}" for value, pin in pins]
    (theirs,) = opensta.longest_paths_ps(run(*lines, opensta.LONGEST))
    ours = analyse(netlist, library, held).critical_path_ps
    assert ours == pytest.approx(theirs, rel=1e-3)


def openstas_power(run, netlist, given):
    """OpenSTA's (internal, switching, leakage) in W by instance, the activity told pin by pin."""
    lines = []
    for port, nets in netlist.inputs.items():
        for k, net in enumerate(nets):
            name = f"{port}[{k}]" if len(nets) > 1 else port
            rates = f"{given.density[net]:.6f} {given.duty[net]:.6f}"
            if port != "clk":
                lines.append(f"sta::set_power_input_port_activity [get_ports {{{name}}}] {rates}")
    lines.append("report_power")  # settles its own estimate first, which would overwrite ours
    for x in netlist.instances:
        for pin, net in x.pins.items():
            if net > 1:
                where = f"[get_pins {{{opensta.quoted(x.name)}/{pin}}}]"
                rates = f"{given.density[net]:.6f} {given.duty[net]:.6f}"
                lines.append(f"sta::set_power_pin_activity {where} {rates}")
        for pin, other in (("Q", "QN"), ("QN", "Q")):
            if pin not in x.pins and other in x.pins:
                net = x.pins[other]
                rates = f"{given.density[net]:.6f} {1 - given.duty[net]:.6f}"
                where = f"[get_pins {{{opensta.quoted(x.name)}/{pin}}}]"
                lines.append(f"sta::set_power_pin_activity {where} {rates}")
    report = run(*lines, "report_power -instances [get_cells *] -digits 6")
    rows = {}
    for line in report.splitlines():
        words = line.split()
        if len(words) == 5 and re.fullmatch(r"-?[\d.]+e[-+]\d+", words[0]):
            rows[words[4].replace("\\", "")] = [float(word) for word in words[:3]]
    return np.array([rows[x.name] for x in netlist.instances])


def probability(node, duty):
    """That a function's tree is 1, the operands of every operator taken as independent."""
    if node[0] == "pin":
        return duty(node[1])
    if node[0] == "const":
        return float(node[1])
    a = probability(node[1], duty)
    if node[0] == "~":
        return 1 - a
    b = probability(node[2], duty)
    return {"&": a * b, "|": 1 - (1 - a) * (1 - b), "^": a * (1 - b) + b * (1 - a)}[node[0]]


def difference(function, pin, duty):
    """That the function depends on the pin, both cofactors taken as independent."""
    high = probability(function.tree, lambda name: 1.0 if name == pin else duty(name))
    low = probability(function.tree, lambda name: 0.0 if name == pin else duty(name))
    return high * (1 - low) + low * (1 - high)


def top_pins(function):
    """Pins that stand at the function's top operator: 2.0.17 finds an input nowhere else."""

    def inside(node):
        while node[0] == "~":
            node = node[1]
        return node

    top = inside(function.tree)
    if top[0] == "pin":
        return {top[1]}
    return {child[1] for child in map(inside, top[1:]) if child[0] == "pin"}


def output_weight(group, power, given, rate, duty):
    """Transitions per cycle that a table of an output is charged for."""
    function = group.cell.pins[power.pin].function
    if power.when is not None:
        return rate * probability(power.when.tree, duty)
    if group.cell.kind != "comb":
        return rate
    if power.related_pin in top_pins(function):
        caused = group._of(given.density, power.related_pin)
        return caused * difference(function, power.related_pin, duty)
    return rate / 2


def leakage_nw(cell):
    """Of the cell's states, as likely as their numbers of inputs make them."""
    states = [item for item in cell.leakage if item.when is not None]
    if not states:
        return next((item.nw for item in cell.leakage), cell.leakage_nw)
    half = {pin: 0.25 if pin == cell.clock_pin else 0.5 for pin in cell.inputs}
    return sum(s.nw * np.prod([half.get(pin, 1.0) for pin in s.when.inputs]) for s in states)


def definition_2019(model, given):
    """(internal fJ per cycle, leakage in nW) by instance, weighed as OpenSTA 2.0.17 does."""
    energy, leakage = np.zeros((2, len(model.netlist.instances)))
    for group in model.groups:

        def duty(pin, group=group):
            if np.any(group.nets[pin] >= 0):
                return group._of(given.duty, pin)
            return 1 - duty(next(x for x in group.cell.outputs if x != pin))  # QN without a net

        joint = group._joint(given.duty, given.density)
        for pin, items in group.driven.items():
            rate = group._output_density(pin, joint, given.density)
            for power, fj in zip(items, group.driven_fj[pin], strict=True):
                energy[group.members] += 2 * fj * output_weight(group, power, given, rate, duty)
        for power, fj in zip(group.hidden, group.hidden_fj, strict=True):
            rate = group._of(given.density, power.pin)
            weight = probability(power.when.tree, duty) if power.when else 1.0
            energy[group.members] += 2 * fj * rate * weight
        leakage[group.members] = leakage_nw(group.cell)
    return energy, leakage


def registered(netlist, given):
    """The netlist with every data input behind a register, and its activity.

    OpenSTA puts its own estimate in place of what it was told wherever logic hangs on an input
    port; it stops at registers.
    """
    nets, instances = list(netlist.nets), list(netlist.instances)
    duty, density, inputs = list(given.duty), list(given.density), {}
    clock = netlist.inputs["clk"]
    for port, bits in netlist.inputs.items():
        inputs[port] = bits if bits == clock else tuple(len(nets) + k for k in range(len(bits)))
        for k, net in enumerate(bits if bits != clock else ()):
            pins = {"CK": clock[0], "D": len(nets), "Q": net}
            instances.append(Instance(f"in_{port}_{k}", "DFF_X1", pins))
            nets.append(nets[net])
            nets[net] = f"registered_{port}_{k}"
            duty.append(duty[net])
            density.append(density[net])
    made = replace(netlist, nets=tuple(nets), inputs=inputs, instances=tuple(instances))
    return made, Activity.of(made, duty, density)


def switching_fj(model, given):
    """Of the nets that an instance drives."""
    nets = 0.5 * model.load_ff * model.library.vdd_v**2 * given.density
    by_instance, driven = np.zeros(len(model.netlist.instances)), model.driver >= 0
    np.add.at(by_instance, model.driver[driven], nets[driven])
    return by_instance


@pytest.fixture
def simulated(request, tmp_path):
    """(run, model, activity) of a real MAC in a mode, its clocks running."""
    spec, bits, corner = request.param
    library = full_library(corner)
    write(spec, tmp_path)
    synthesize([tmp_path / f"{spec.name}.v"], spec.name, tmp_path, library)
    netlist = Netlist.load(tmp_path / f"{spec.name}.netlist.json", library)
    mode = spec.mode(bits, bits)
    batches = Simulator(netlist, library).run_all(
        rounds(1280, seed=0),
        lambda rng, streams: mac_inputs(spec, mode, netlist, "uniform", rng, streams, 8),
        8,
    )
    netlist, given = registered(netlist, batches.activity(netlist))
    clocks = list(clock_nets(netlist, library))
    given.duty[clocks], given.density[clocks] = 0.5, 2.0  # OpenSTA stops no clock
    (tmp_path / "registered.v").write_text(to_verilog(netlist))
    run = opensta.session(library, tmp_path / "registered.v", spec.name, tmp_path)
    return run, PowerModel(netlist, library), given


SMALL, LARGE = MacSpec(w_width=8, a_width=8), MacSpec()
DVAFS, TOGETHER = MacSpec(scheme="dvafs"), MacSpec(scheme="dvafs_st")


@pytest.mark.parametrize(
    "simulated",
    [
        *[(SMALL, 8, corner) for corner in ("typ", "slow", "fast")],
        *[(LARGE, 16, corner) for corner in ("typ", "slow", "fast")],
        (MacSpec(scheme="dg"), 5, "typ"),
        *[(DVAFS, 8, corner) for corner in ("slow", "fast")],
        *[(DVAFS, 16, "typ"), (DVAFS, 4, "typ"), (TOGETHER, 8, "typ")],
    ],
    indirect=True,
    ids=lambda case: f"{case[0].name}-{case[1]}-{case[2]}",
)
def test_power_of_the_real_macs(simulated):
    run, model, given = simulated
    theirs = openstas_power(run, model.netlist, given)
    energy, leakage = definition_2019(model, given)
    per_w = 1e-3 / PERIOD_PS
    ours = np.stack([energy * per_w, switching_fj(model, given) * per_w, leakage * 1e-9], axis=1)
    assert ours.sum(axis=0) == pytest.approx(theirs.sum(axis=0), rel=0.01)
    assert ours.sum() == pytest.approx(theirs.sum(), rel=0.005)
    within = np.abs(ours.sum(axis=1) - theirs.sum(axis=1)) <= 0.05 * theirs.sum(axis=1)
    assert within.mean() > 0.99
    own = model(given, PERIOD_PS)
    assert 0.4 < own.instances_w.sum() / theirs.sum() < 0.6  # one edge a transition, not both
