"""Foreign MACs in the energy table: driven right, measured as the project's own are."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from flows.console import FlowError
from flows.energy.mac_drive import OwnMac, Point, check_ports, lane_words, points, read
from flows.energy.measure_point import WARMUP, batch_energies, per_mac
from flows.library import Library
from flows.own_mac import clock_period_ps, load, make_table, measure
from flows.stimulus import mac_words, rounds
from flows.synth import synthesize
from flows.table import EnergyTable
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import write

LIBRARY = Library.load()
VECTORS = 640
LANE = {"dvafs": {"min_lane": 2}}


@pytest.fixture(scope="module")
def netlist_of(tmp_path_factory):
    """The netlist of a spec, made once."""
    folder, made = tmp_path_factory.mktemp("own"), {}

    def netlist(spec):
        if spec.name not in made:
            write(spec, folder)
            synthesize([folder / f"{spec.name}.v"], spec.name, folder, LIBRARY)
            made[spec.name] = folder / f"{spec.name}.netlist.json"
        return made[spec.name]

    return netlist


def driven(netlist, spec, bits, signed):
    """The project's MAC in a mode, as a stranger would describe it."""
    mode = spec.mode(bits, bits, signed)
    hold = {"en": 1, **spec.controls(mode)}
    hold.pop("a_signed")
    return OwnMac(
        netlist=str(netlist(spec)), scheme=spec.scheme, bits=(bits,), signed="a_signed",
        clear="clear", hold=hold, lanes=mode.lanes, align="msb",
    )  # fmt: skip


@pytest.mark.parametrize("signed", [False, True], ids=["unsigned", "signed"])
@pytest.mark.parametrize(("scheme", "bits"), [("fixed", 4), ("dg", 3), ("dvafs", 2)])
def test_it_measures_what_the_projects_own_bench_does(netlist_of, scheme, bits, signed):
    spec = MacSpec(scheme=scheme, w_width=4, a_width=4, **LANE.get(scheme, {}))
    mac = driven(netlist_of, spec, bits, signed)
    bench, mode = load(mac, LIBRARY), spec.mode(bits, bits, signed)
    row = measure(Point(mac, bits, signed), bench, 2000, VECTORS, 0)
    batches = bench.simulator.run_all(
        rounds(VECTORS, 0),
        lambda rng, streams: mac_words(spec, mode, bench.netlist, "uniform", rng, streams, WARMUP),
        WARMUP,
    )
    wanted = per_mac(batch_energies(bench, batches), LIBRARY, 2000, LIBRARY.vdd_v, mode.lanes)
    assert row.energy_fj == pytest.approx(wanted["energy_fj"], abs=1e-3)
    assert (row.macs_per_cycle, row.stimulus.endswith("_signed")) == (mode.lanes, signed)


def test_activations_that_are_always_signed_need_no_port(netlist_of):
    """Held at signed the port changes nothing; unsigned codes go to the same port."""
    mac = driven(netlist_of, MacSpec(scheme="fixed", w_width=4, a_width=4), 4, True)
    always = OwnMac(**vars(mac) | {"signed": "always", "hold": mac.hold | {"a_signed": 1}})
    table, with_port = (make_table([m], LIBRARY, vectors=VECTORS, seed=0) for m in (always, mac))
    assert [row.stimulus for row in table.rows] == ["uniform", "uniform_signed"]
    assert table.rows[1] == with_port.rows[1]


@pytest.mark.parametrize(
    ("codes", "bits", "width", "align", "word"),
    [
        ([5], 4, 8, "lsb", 0b0000_0101),
        ([5], 4, 8, "msb", 0b0101_0000),
        ([-1], 2, 8, "lsb", 0b1111_1111),
        ([-1], 2, 8, "msb", 0b1100_0000),
        ([-1, 1], 2, 8, "msb", 0b0100_1100),
        ([1, 2, 3, -4], 4, 16, "lsb", 0xC321),
    ],
)
def test_words(codes, bits, width, align, word):
    assert lane_words(np.array(codes), bits, width, align) == word


FILE = """clock_ps = 3000
[[mac]]
netlist = "mac.json"
scheme = "dg"
bits = [2, 4]
signed = "a_signed"
hold = { en = 1 }
"""


def test_the_file_is_read(tmp_path):
    (tmp_path / "own.toml").write_text(FILE)
    [mac], clock_ps = read(tmp_path / "own.toml")
    assert (clock_ps, mac.bits, mac.hold) == (3000, (2, 4), {"en": 1})
    assert mac.netlist == str(tmp_path / "mac.json")
    assert [(p.bits, p.a_signed) for p in points(mac)] == [(2, 0), (2, 1), (4, 0), (4, 1)]


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("[[mac]]", "[[mac]", "no valid TOML"),
        ("[[mac]]", "[mac]", "must hold clock_ps"),
        (FILE, "mac = [3]", "must be a table of keys, not 3"),
        ("clock_ps = 3000", "clock = 1", "must hold clock_ps"),
        ("3000", "-1", "clock_ps must be a number of ps"),
        ("3000", "inf", "clock_ps must be a number of ps"),
        ("3000", "9" * 400, "clock_ps must be a number of ps from 0 to 1e9, not 9999"),
        ('"dg"', '"booth"', "scheme 'booth' is not known"),
        ('scheme = "dg"\n', "", "lacks scheme"),
        ("[2, 4]", "[0]", "own.toml: bits must be whole numbers from 1 to 16"),
        ("en = 1", "en = true", "hold must give en a whole number"),
        ("[2, 4]", "2", "bits = 2 is not understood"),
        ("hold", "holds", "keys are netlist"),
        ("bits", "align = 3\nbits", "align = 3 is not understood"),
        ("bits", "lanes = 0\nbits", "lanes must be a whole number"),
        ("clock_ps", f"{'a.' * 500}b", "line 1 has more than 128 dots"),  # a gigabyte at 50,000
        ("clock_ps", "#" * 70_000 + "\nclock_ps", "more than the 65536 that are read"),
    ],
)
def test_a_bad_file_is_refused(tmp_path, old, new, says):
    (tmp_path / "own.toml").write_text(FILE.replace(old, new))
    with pytest.raises(FlowError, match=says):
        read(tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"weights": "x"}, "has no data input x"),
        ({"clear": ""}, "nothing is said of input clear"),
        ({"bits": (5,)}, "4 bits, too few for codes of 5"),
        ({"hold": {"en": 2}}, "port en takes 0 to 1"),
        ({"netlist": "mac_fixed_w4a4.v"}, "no JSON netlist"),
    ],
)
def test_a_mac_that_does_not_fit_is_refused(netlist_of, keys, says):
    mac = driven(netlist_of, MacSpec(scheme="fixed", w_width=4, a_width=4), 4, False)
    if "netlist" in keys:
        keys = {"netlist": mac.netlist.replace(".netlist.json", ".v")}
    with pytest.raises(FlowError, match=says):
        load(OwnMac(**vars(mac) | keys), LIBRARY)


def test_the_table_prices_and_repeats(netlist_of, tmp_path):
    mac = driven(netlist_of, MacSpec(scheme="fixed", w_width=4, a_width=4), 4, False)
    bench = load(mac, LIBRARY)
    check_ports(mac, bench.netlist, {"w", "a", "a_signed", "clear", "en"})
    with pytest.raises(FlowError, match="shorter than the longest path"):
        clock_period_ps([bench], 100)
    one, two = (make_table([mac], LIBRARY, vectors=VECTORS, seed=s) for s in (0, 1))
    assert one.row("fixed", 4, 4).clock_ps == clock_period_ps([bench], 0)
    assert one.row("fixed", 4, 4).energy_fj != two.row("fixed", 4, 4).energy_fj
    with pytest.raises(FlowError, match="give the row of scheme fixed at 4 bits"):
        make_table([mac, mac], LIBRARY, vectors=VECTORS, seed=0)
    other = tmp_path / "copy.json"
    other.write_bytes(Path(mac.netlist).read_bytes())
    macs = [mac, OwnMac(**vars(mac) | {"netlist": str(other), "bits": (2,)})]
    named = make_table(macs, LIBRARY, vectors=VECTORS, seed=0).header.netlist_sha256
    assert list(named) == [f"{bench.netlist.top} ({m.netlist})" for m in macs]
    one.save(tmp_path / "table.json")
    assert EnergyTable.load(tmp_path / "table.json").sha256 == one.sha256


def test_command(netlist_of, tmp_path):
    place = netlist_of(MacSpec(scheme="fixed", w_width=4, a_width=4))
    text = FILE.replace("mac.json", str(place)).replace("[2, 4]", "[4]\nclear = 'clear'")
    (tmp_path / "own.toml").write_text(text)
    call = [sys.executable, "-m", "flows.own_mac", str(tmp_path / "own.toml"), "--vectors", "640"]
    done = subprocess.run(
        [*call, "--out", str(tmp_path / "t.json")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "dg        4 bit uniform_signed" in done.stdout
    (tmp_path / "own.toml").write_text("x = 1")
    done = subprocess.run(
        [*call, "--out", str(tmp_path / "u.json")], capture_output=True, text=True
    )
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert not (tmp_path / "u.json").exists()
