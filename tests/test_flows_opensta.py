"""Timing and power against OpenSTA, on full 45 nm libraries, where both are at hand.

OpenSTA 2.0.17 (Debian's) weighs internal power in ways of its own, which `openstas_internal_fj`
repeats on our tables, slews and state probabilities: it charges a whole rise and fall per
transition, does not share an output's transitions among its inputs, takes Q and QN as independent,
and finds an input in a function only at the top operator. Agreement therefore checks everything
but the weighting, which is ours (and newer OpenSTA's).
"""

from __future__ import annotations

import re

import numpy as np
import opensta
import pytest
from test_flows_library import full_library
from test_flows_synth import MAC

from flows.netlist import Netlist
from flows.power import PowerModel
from flows.saif import Activity
from flows.synth import synthesize
from flows.timing import Conditions, analyse, clock_nets

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


def top_pins(function):
    """Pins that stand at the function's top operator."""

    def inside(node):
        while node[0] == "~":
            node = node[1]
        return node

    top = inside(function.tree)
    if top[0] == "pin":
        return {top[1]}
    return {child[1] for child in map(inside, top[1:]) if child[0] == "pin"}


def openstas_internal_fj(model, given):
    """Internal energy per cycle by instance, weighed as OpenSTA 2.0.17 does."""
    energy = np.zeros(len(model.netlist.instances))
    density = given.density
    for group in model.groups:
        cell, joint = group.cell, group._joint(given.duty, density)
        for pin, items in group.driven.items():
            rate = group._output_density(pin, joint, density)
            rows = zip(items, group.driven_fj[pin], group.driven_words[pin], strict=True)
            for power, fj, words in rows:
                weight = rate
                if power.when is not None:
                    weight = rate * (words @ joint)
                elif cell.kind == "comb" and power.related_pin in top_pins(cell.pins[pin].function):
                    weight = group._of(density, power.related_pin) * (words @ joint)
                elif cell.kind == "comb":
                    weight = rate / 2
                energy[group.members] += 2 * fj * weight
        for power, fj, words in zip(group.hidden, group.hidden_fj, group.hidden_words, strict=True):
            independent = 0.5 if cell.register else 1.0  # Q and QN
            weight = group._of(density, power.pin) * (words @ joint) * independent
            energy[group.members] += 2 * fj * weight
    return energy


def test_power(mac):
    run, library, netlist = mac
    rng = np.random.default_rng(0)
    density = rng.uniform(0.1, 1.5, len(netlist.nets))
    clocks = list(clock_nets(netlist, library))
    density[clocks] = 2.0
    given = Activity.of(netlist, np.full(len(netlist.nets), 0.5), density)
    theirs = openstas_power(run, netlist, given)
    model = PowerModel(netlist, library, Conditions())
    ours = model(given, PERIOD_PS)
    internal = openstas_internal_fj(model, given) * 1e-3 / PERIOD_PS
    switching = ours.switching_w + ours.clock_w - ours.ports_w
    switching -= sum(
        group.evaluate(given.duty, density).clock_fj.sum() * 1e-3 / PERIOD_PS
        for group in model.groups
    )
    assert switching == pytest.approx(theirs[:, 1].sum(), rel=1e-3)
    assert ours.leakage_w == pytest.approx(theirs[:, 2].sum(), rel=1e-3)
    assert internal.sum() == pytest.approx(theirs[:, 0].sum(), rel=0.02)
    within = np.abs(internal / theirs[:, 0] - 1) < 0.05
    assert within.mean() > 0.98  # not the clock gate, whose output it takes as independent
