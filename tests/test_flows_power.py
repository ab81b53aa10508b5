"""Power by hand on small netlists, state probabilities, SAIF files, and the command."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from test_flows_library import full_library
from test_flows_netlist import load, module
from test_flows_synth import MAC
from test_flows_timing import PIPE, PORTS

from flows.cells.boolean import Function
from flows.cells.lut import Lut
from flows.console import FlowError
from flows.energy import stages
from flows.energy.cell_power import StateWords
from flows.library import Library
from flows.netlist import Netlist
from flows.power import PowerModel
from flows.simulator.saif import Activity, read_saif, write_saif
from flows.synth import synthesize
from flows.timing import Conditions

LIBRARY = Library.load()
CLOCK_PS = 1000.0


def activity(netlist, **nets):
    """Activity by net name, (duty, density); half and none elsewhere, a running clock."""
    duty, density = np.full(len(netlist.nets), 0.5), np.zeros(len(netlist.nets))
    for name, (probability, rate) in {"clk": (0.5, 2.0), **nets}.items():
        duty[netlist.net_index[name]], density[netlist.net_index[name]] = probability, rate
    return Activity.of(netlist, duty, density)


def joint(words, **p):
    """Probability of each word, the pins independent."""
    return np.array(
        [
            np.prod([p[v] if w >> i & 1 else 1 - p[v] for i, v in enumerate(words.variables)])
            for w in range(1 << len(words.variables))
        ]
    )


@pytest.mark.parametrize(
    ("cell", "condition", "probability"),
    [
        ("NAND2_X1", "A1 & !A2", 0.3 * 0.4),
        ("AOI21_X1", "!B1 & B2", 0.4 * 0.8),
        ("DFF_X1", "CK & !Q & QN", 0.2 * 0.1),
        ("DFF_X1", "CK & !Q & !QN", 0.0),
        ("CLKGATE_X1", "!CK & !GCK", 0.8),
        ("CLKGATE_X1", "CK & GCK", 0.2 * 0.9),
        ("CLKGATE_X1", "!CK & GCK", 0.0),
    ],
)
def test_probability_of_a_state(cell, condition, probability):
    words = StateWords(LIBRARY.cells[cell])
    p = {
        "A1": 0.3,
        "A2": 0.6,
        "A": 0.5,
        "B1": 0.6,
        "B2": 0.8,
        "CK": 0.2,
        "D": 0.7,
        "E": 0.5,
        "IQ": 0.9,
    }
    got = words.holds(Function(condition)) @ joint(words, **p)
    assert got == pytest.approx(probability)


@pytest.mark.parametrize(
    ("cell", "pin", "output", "probability"),
    [("NAND2_X1", "A1", "ZN", 0.6), ("XOR2_X1", "A", "Z", 1.0), ("AOI21_X1", "B1", "ZN", 0.8 / 2)],
)
def test_probability_that_an_input_decides(cell, pin, output, probability):
    words = StateWords(LIBRARY.cells[cell])
    p = {"A1": 0.3, "A2": 0.6, "A": 0.5, "B": 0.1, "B1": 0.6, "B2": 0.8}
    assert words.decides(pin, output) @ joint(words, **p) == pytest.approx(probability)


def test_switching_internal_and_leakage_by_hand(tmp_path):
    cells = {"g": ("NAND2_X1", {"A1": 2, "A2": 3, "ZN": 5})}
    netlist = load(tmp_path, module(cells, PORTS))
    given = activity(netlist, a=(0.25, 0.8), b=(0.5, 0.2), y=(0.9, 0.3))
    result = PowerModel(netlist, LIBRARY, Conditions(port_ff=4.0))(given, CLOCK_PS, 1.1)
    nand = LIBRARY.cells["NAND2_X1"]
    by_pin = {p.related_pin: p for p in nand.internal_power}
    energy = {pin: (p.rise.at(20.0, 4.0) + p.fall.at(20.0, 4.0)) / 2 for pin, p in by_pin.items()}
    weight = {"A1": 0.8 * 0.5, "A2": 0.2 * 0.25}
    mean = sum(weight[p] * energy[p] for p in weight) / sum(weight.values())
    assert result.fj(result.internal_w) == pytest.approx(0.3 * mean)
    pins = {n: nand.pins[p].capacitance_ff for n, p in (("a", "A1"), ("b", "A2"))}
    ports_fj = 0.5 * 1.1**2 * (0.8 * pins["a"] + 0.2 * pins["b"])
    assert result.fj(result.ports_w) == pytest.approx(ports_fj)
    assert result.fj(result.switching_w) == pytest.approx(ports_fj + 0.5 * 4.0 * 1.1**2 * 0.3)
    states = {item.when.text: item.nw for item in nand.leakage}
    p = {"!A1 & !A2": 0.375, "!A1 & A2": 0.375, "A1 & !A2": 0.125, "A1 & A2": 0.125}
    assert result.leakage_w == pytest.approx(1e-9 * sum(p[s] * nw for s, nw in states.items()))
    assert result.clock_w == 0
    assert result.instances_w.sum() == pytest.approx(result.total_w - result.ports_w)


def test_clock_power_is_the_registers_clock_pins(tmp_path):
    netlist = load(tmp_path, module(PIPE, PORTS))
    still = PowerModel(netlist, LIBRARY)(activity(netlist), CLOCK_PS)
    register = LIBRARY.cells["DFF_X1"]
    wires = 2 * 0.5 * 2 * register.pins["CK"].capacitance_ff * 1.1**2
    pins = [p for p in register.internal_power if p.pin == "CK"]
    hidden = sum((p.rise.at(20, 0) + p.fall.at(20, 0)) / 2 for p in pins) / len(pins)
    assert still.fj(still.clock_w) == pytest.approx(wires + 2 * 2 * hidden, rel=1e-3)
    assert still.internal_w == still.switching_w == 0
    stopped = PowerModel(netlist, LIBRARY)(activity(netlist, clk=(0.0, 0.0)), CLOCK_PS)
    assert stopped.clock_w == 0
    assert stopped.leakage_w > 0


def test_closed_clock_gate_saves_the_clock_behind_it(tmp_path):
    cells = {
        "gate": ("CLKGATE_X1", {"CK": 4, "E": 3, "GCK": 9}),
        **{f"r{k}": ("DFF_X1", {"CK": 9, "D": 2, "Q": 20 + k}) for k in range(8)},
        "out": ("DFF_X1", {"CK": 4, "D": 2, "Q": 5}),
    }
    netlist = load(tmp_path, module(cells, PORTS))
    open_ = PowerModel(netlist, LIBRARY)(activity(netlist, _9_=(0.5, 2.0), b=(1.0, 0.0)), CLOCK_PS)
    shut = PowerModel(netlist, LIBRARY)(activity(netlist, _9_=(0.0, 0.0), b=(0.0, 0.0)), CLOCK_PS)
    assert 0 < shut.clock_w < 0.4 * open_.clock_w
    assert shut.internal_w == open_.internal_w == 0


@pytest.mark.parametrize("registers", [40, 100, 4000])
@pytest.mark.parametrize("stated", [True, False])
def test_a_gates_registers_take_what_ungated_ones_do(tmp_path, registers, stated):
    """However many: a gate with more load than it may have stands for one with a clock tree, with
    the slew of the clock ahead of it, also where no pin states a limit and the tables' end is it.
    Gates of 24 registers each, which no table is too short for, take about as much.
    """
    library = LIBRARY if stated else unlimited(LIBRARY)
    one, split, none = (
        clock_fj(tmp_path, library, registers, fanout) for fanout in (registers, 24, None)
    )
    assert one == pytest.approx(none, rel=0.15)
    assert one == pytest.approx(split, rel=0.15)


def clock_fj(tmp_path, library, registers, fanout):
    """Clock energy per cycle and register with a gate for every `fanout` of them, or without."""
    first = 20 + registers
    cells = {
        f"r{k}": ("DFF_X1", {"CK": first + k // fanout if fanout else 4, "D": 2, "Q": 20 + k})
        for k in range(registers)
    }
    gated = range(first, first + -(-registers // fanout)) if fanout else ()
    cells |= {f"g{net}": ("CLKGATE_X1", {"CK": 4, "E": 3, "GCK": net}) for net in gated}
    netlist = load(tmp_path, module(cells, PORTS | {"y": ("output", [20])}))
    clocks = {f"_{net}_": (0.5, 2.0) for net in gated}
    given = activity(netlist, b=(1.0, 0.0), **clocks)
    result = PowerModel(netlist, library)(given, CLOCK_PS)
    return result.fj(result.clock_w) / registers


def unlimited(library):
    """The library without the most that outputs may drive."""
    cells = {
        name: replace(
            cell, pins={p: replace(pin, max_capacitance_ff=None) for p, pin in cell.pins.items()}
        )
        for name, cell in library.cells.items()
    }
    return replace(library, cells=cells)


def test_unconnected_output_counts_with_its_twin(tmp_path):
    """The energy of a flip-flop's event is shared between the tables of Q and QN."""
    pins = {"CK": 4, "D": 2, "Q": 5}
    both = load(tmp_path, module({"r": ("DFF_X1", {**pins, "QN": 9})}, PORTS))
    one = load(tmp_path, module({"r": ("DFF_X1", pins)}, PORTS))
    energies = []
    for netlist, nets in ((both, {"_9_": (0.5, 0.4)}), (one, {})):
        given = activity(netlist, y=(0.5, 0.4), **nets)
        result = PowerModel(netlist, LIBRARY, Conditions(port_ff=0.0))(given, CLOCK_PS)
        energies.append(result.fj(result.internal_w))
    assert energies[1] == pytest.approx(energies[0])
    assert energies[1] > 0.4 * 8


def test_energy_goes_with_the_square_of_the_supply(tmp_path):
    netlist = load(tmp_path, module(PIPE, PORTS))
    model, given = PowerModel(netlist, LIBRARY), activity(netlist, a=(0.5, 1.0), y=(0.5, 1.0))
    at = {v: model(given, CLOCK_PS, v) for v in (1.1, 0.8)}
    assert model(given, CLOCK_PS).total_w == at[1.1].total_w
    assert at[0.8].total_w / at[1.1].total_w == pytest.approx((0.8 / 1.1) ** 2)
    assert model(given, 2 * CLOCK_PS, 1.1).clock_w == pytest.approx(at[1.1].clock_w / 2)


@pytest.fixture(scope="module")
def mac(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mac")
    (folder / "mac.v").write_text(MAC)
    synthesize([folder / "mac.v"], "mac", folder, LIBRARY)
    return Netlist.load(folder / "mac.netlist.json", LIBRARY)


def random_activity(netlist, seed):
    generator = np.random.default_rng(seed)
    shape = len(netlist.nets)
    density = generator.uniform(0.0, 1.5, shape)
    density[netlist.inputs["clk"][0]] = 2.0
    return Activity.of(netlist, generator.uniform(0.1, 0.9, shape), density)


@pytest.mark.parametrize("seed", range(3))
def test_compact_library_gives_the_full_ones_energy(mac, seed):
    full = full_library()
    given = random_activity(mac, seed)
    small, large = (PowerModel(mac, library)(given, CLOCK_PS) for library in (LIBRARY, full))
    assert small.total_w == pytest.approx(large.total_w, rel=0.01)
    for part in ("switching_w", "internal_w", "clock_w", "leakage_w"):
        assert getattr(small, part) == pytest.approx(getattr(large, part), rel=0.02)


def test_energy_by_stage_is_the_whole_and_stands_where_it_is_spent(mac):
    """The MAC's operand registers, multiplier and accumulator; the clock net is no cell's."""
    given, model = random_activity(mac, 0), PowerModel(mac, LIBRARY)
    whole = model(given, CLOCK_PS, 1.0)
    found = {share.part: share for share in stages.shares(model, given, whole)}
    total = sum(share.total_fj for share in found.values())
    assert total == pytest.approx(whole.fj(whole.total_w))
    registers = {f"stage {k} registers": found[f"stage {k} registers"].cells for k in (1, 2)}
    assert registers == {"stage 1 registers": 8, "stage 2 registers": 10}
    assert found["stage 1 logic"].cells > 20
    assert found["stage 1 logic"].clock_fj == 0 < found["stage 1 registers"].clock_fj
    assert found["input nets, clock"].cells == found["input nets, clock"].internal_fj == 0
    still = Activity.of(mac, given.duty, given.density * mac_clock(mac))
    parts = {share.part for share in stages.shares(model, still, model(still, CLOCK_PS))}
    assert parts == {"behind no moving input", "clock gates", "input nets, clock"}


def test_the_table_of_stages_has_a_line_for_each(capsys):
    share = stages.Share(part="stage 1 logic", cells=7, switching_fj=1, internal_fj=2.5, clock_fj=3)
    stages.show([share])
    head, line = capsys.readouterr().out.splitlines()[1:]
    assert head.split()[-6:] == ["cells", "switching", "internal", "clock", "leakage", "total"]
    assert line.split() == ["stage", "1", "logic", "7", "1.0", "2.5", "3.0", "0.0", "6.5"]
    stages.show([])
    assert capsys.readouterr().out == ""


def mac_clock(netlist):
    """1 for the clock, 0 for the other nets."""
    return np.arange(len(netlist.nets)) == netlist.inputs["clk"][0]


def test_saif_keeps_the_activity(mac, tmp_path):
    given = random_activity(mac, 1)
    cycles, rng = 1000, np.random.default_rng(2)
    duration = cycles * CLOCK_PS
    t1 = np.rint(given.duty * duration)
    tc = np.rint(given.density * cycles)
    path = tmp_path / "mac.saif"
    write_saif(path, mac, duration, duration - t1, t1, tc, rng.integers(0, 5, len(tc)))
    back = read_saif(path, mac)
    assert back.duration_ps == duration
    np.testing.assert_array_equal(back.tc[2:], tc[2:])
    again = back.activity(mac, CLOCK_PS)
    np.testing.assert_allclose(again.duty, given.duty, atol=1e-6)
    np.testing.assert_allclose(again.density, given.density, atol=1e-3)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda text: text.replace("w\\[0\\]", "other"), r"lacks 1 of .* the first is w\[0\]"),
        (lambda text: text.replace("(DURATION", "(LENGTH"), "no DURATION"),
        (lambda text: re.sub(r"\(DURATION \d+", "(DURATION 1e-320", text), "no DURATION"),
        (lambda text: text[: len(text) // 2], "ends inside a parenthesis"),
        (lambda text: ")" + text, "closes nothing"),
        (lambda text: "(OTHER)", "no SAIF file"),
        (lambda text: "", "no SAIF file"),
    ],
)
def test_bad_saif_is_one_sentence(mac, tmp_path, change, says):
    path = tmp_path / "mac.saif"
    ones = np.ones(len(mac.nets))
    write_saif(path, mac, 1000, 500 * ones, 500 * ones, ones)
    path.write_text(change(path.read_text()))
    with pytest.raises(FlowError, match=says):
        read_saif(path, mac)


@pytest.mark.parametrize(
    ("axis", "column"),
    [([0.0, 1e-309], [0.0, 1.0]), ([0.0, 1.0], [-1e308, 1e308])],
    ids=["steep axis", "steep values"],
)
def test_a_power_table_that_overflows_is_named_with_its_cell(mac, axis, column):
    """The energies came out as inf or NaN, behind a warning of numpy's."""
    steep = Lut.of(axis, [0.0], column)
    nand = LIBRARY.cells["NAND2_X1"]
    tables = tuple(replace(table, rise=steep) for table in nand.internal_power)
    library = replace(
        LIBRARY, cells=LIBRARY.cells | {"NAND2_X1": replace(nand, internal_power=tables)}
    )
    with pytest.raises(FlowError, match="lib: cell NAND2_X1: its power tables give no"):
        PowerModel(mac, library)


def test_library_without_power_tables_is_refused(mac):
    cells = {n: replace(c, internal_power=()) for n, c in LIBRARY.cells.items()}
    with pytest.raises(FlowError, match="no internal power tables"):
        PowerModel(mac, replace(LIBRARY, cells=cells))
    with pytest.raises(FlowError, match="says no supply; give it a nom_voltage"):
        PowerModel(mac, replace(LIBRARY, vdd_v=0.0))


def test_conditions_of_a_cell_name_its_pins(mac):
    """A clock gate's output may be a function of its own latch's variable, which is no pin."""
    gate = LIBRARY.cells["CLKGATE_X1"]
    pins = {**gate.pins, "GCK": replace(gate.pins["GCK"], function=Function("CK & LATCH"))}
    words = StateWords(replace(gate, pins=pins))
    np.testing.assert_array_equal(
        words.holds(Function("GCK")), StateWords(gate).holds(Function("GCK"))
    )
    with pytest.raises(FlowError, match="CLKGATE_X1: the condition 'GHOST' names 'GHOST'"):
        words.holds(Function("GHOST"))


@pytest.mark.parametrize(
    ("duty", "density", "says"),
    [(0.5, -1.0, "not negative"), (np.nan, 1.0, "finite"), ([0.5], [1.0], "shape")],
)
def test_activity_is_checked(mac, duty, density, says):
    ones = np.ones(len(mac.nets)) if isinstance(duty, float) else 1
    with pytest.raises(FlowError, match=says):
        Activity.of(mac, ones * duty, ones * density)


def test_command(mac, tmp_path):
    from flows.gates.netlist_write import to_json

    netlist = tmp_path / "mac.json"
    netlist.write_text(to_json(mac, LIBRARY))
    ones = np.ones(len(mac.nets))
    write_saif(tmp_path / "mac.saif", mac, 1000, 500 * ones, 500 * ones, 2 * ones)
    command = [sys.executable, "-m", "flows.power", netlist, "--saif", tmp_path / "mac.saif"]

    def run(*more):
        return subprocess.run([*command, *more], capture_output=True, text=True, check=False)

    answer = json.loads(run("--clock-ps", "1000", "--json").stdout)
    parts = [answer[f"{name}_w"] for name in ("switching", "internal", "clock", "leakage")]
    assert answer["total_w"] == pytest.approx(sum(parts))
    assert min(parts) > 0
    for more, says in ((["--clock-ps", "0"], "more than 0"), (["--clock-ps=1", "--vdd=-1"], "0.")):
        done = run(*more)
        assert (done.returncode, done.stdout) == (2, "")
        assert says in done.stderr
