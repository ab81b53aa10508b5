"""Liberty files: what is read, in which units, and what is refused."""

from __future__ import annotations

import gzip
import itertools
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from fuzzing import bounded

from flows.cells.boolean import Function
from flows.cells.liberty_write import to_liberty
from flows.cells.lut import Lut
from flows.compact import CELLS, compact
from flows.console import FlowError
from flows.library import SHIPPED, Library

LIBERTY = Path(__file__).parents[2] / "shared" / "liberty"
CORNERS = {"typ": (1.1, 25.0), "slow": (0.95, 125.0), "fast": (1.25, 0.0)}


@cache
def full_library(corner: str = "typ") -> Library:
    """Of shared/liberty, read once a process: even from the cache it takes two seconds."""
    path = LIBERTY / f"nangate45_{corner}.lib.gz"
    if not path.exists():
        pytest.skip("the full Liberty files are not at hand")
    return Library.load(path)


@pytest.mark.parametrize(
    ("text", "python"),
    [
        ("!(A1 & A2)", lambda a, b, c: not (a and b)),
        ("A1 ^ A2", lambda a, b, c: a != b),
        ("A1'+A2 C", lambda a, b, c: (not a) or (b and c)),
        ("A1 * !A2 | C", lambda a, b, c: (a and not b) or c),
        ("!(((A1 & A2) | C))", lambda a, b, c: not ((a and b) or c)),
        ("A1 ^ A2 & C", lambda a, b, c: (a != b) and c),
        ("(A1 A2)'", lambda a, b, c: not (a and b)),
        ("!(!(!(A1 A2)))", lambda a, b, c: not (a and b)),
        ("1", lambda a, b, c: True),
        ("A1 & 0", lambda a, b, c: False),
    ],
)
def test_function_follows_libertys_precedence(text, python):
    names = ("A1", "A2", "C")
    words = [word[::-1] for word in itertools.product((0, 1), repeat=3)]
    expected = tuple(int(bool(python(*word))) for word in words)
    assert Function(text).truth_table(names) == expected
    columns = {n: np.array([w[i] for w in words], np.uint8) for i, n in enumerate(names)}
    got = Function(text).evaluate(columns, np.ones(8, np.uint8))
    np.testing.assert_array_equal(got, expected)
    expression = Function(text).expression({name: name for name in names})
    assert "~~" not in expression  # which Icarus takes for an error
    assert tuple(eval(expression, dict(zip(names, w, strict=True))) & 1 for w in words) == expected


@pytest.mark.parametrize("text", ["", "A &", "(A", "A)", "A @ B", "!"])
def test_what_is_no_function_is_refused(text):
    with pytest.raises(FlowError, match="not a Boolean function"):
        _ = Function(text).tree


def test_lut_is_bilinear_and_goes_on_beyond_its_edges():
    table = Lut.of([10, 20], [1, 3, 5], [[1, 2, 4], [3, 5, 9]])
    for slew, load, value in [(10, 1, 1), (15, 2, 2.75), (20, 5, 9), (30, 3, 8), (10, 7, 6)]:
        assert float(table(slew, load)) == pytest.approx(value)
        assert table.at(slew, load) == pytest.approx(value)
    assert Lut.of([0], [0], [[7.0]]).at(123, 456) == 7


@pytest.mark.parametrize("corner", CORNERS)
def test_full_library_in_our_units(corner):
    library = full_library(corner)
    assert (library.vdd_v, library.temperature_c) == CORNERS[corner]
    assert library.slew_percent == (30.0, 70.0)
    assert len(library.cells) == 134
    kinds = {name: library.cells[name].kind for name in ("FA_X1", "DFF_X1", "CLKGATE_X4", "DLH_X1")}
    assert list(kinds.values()) == ["comb", "flipflop", "clockgate", "latch"]
    assert "tri-state" in library.cells["TBUF_X1"].reason


def test_typical_values_as_the_file_states_them():
    nand = full_library().cells["NAND2_X1"]
    assert nand.area_um2 == 0.798
    assert nand.pins["A1"].capacitance_ff == 1.599032
    arc = nand.arcs_between["ZN", "A1"][0]
    assert arc.cell_fall.at(1.17378, 0.365616) == pytest.approx(6.83090)
    assert arc.cell_fall.at(1.17378, 59.3567) == pytest.approx(129.575)
    assert arc.cell_fall.at(198.535, 0.365616) == pytest.approx(7.72654)
    assert nand.internal_power[0].rise.at(1.17378, 0.365616) == pytest.approx(2.187802)
    assert {item.when.text: item.nw for item in nand.leakage}["A1 & A2"] == 37.206389
    flipflop = full_library().cells["DFF_X1"]
    setup = next(c for c in flipflop.constraints if c.kind == "setup_rising")
    assert setup.rise.at(198.535, 1.17378) == pytest.approx(55.773)
    register = flipflop.register
    assert (register.clock_pin, register.rising, register.next_state.text) == ("CK", True, "D")


def test_shipped_library_is_what_the_script_makes():
    full = full_library()
    comment = SHIPPED.read_text().split("*/")[0].removeprefix("/* ").rstrip()
    assert full.sha256 in comment
    assert to_liberty(compact(full), comment) == SHIPPED.read_text()


def test_shipped_library_is_small_and_cites_its_source():
    text = SHIPPED.read_text()
    assert len(text) < 150_000
    assert "Apache-2.0" in text
    assert "v2010_12" in text
    assert tuple(Library.load().cells) == CELLS


def test_cache_gives_the_same_library(tmp_path, monkeypatch):
    monkeypatch.setenv("QUANOS_CACHE", str(tmp_path))
    first, second = Library.load(), Library.load()
    assert list(tmp_path.rglob("*.json"))
    text = [to_liberty(library, "x") for library in (first, second)]
    assert text[0] == text[1]
    for file in tmp_path.rglob("*.json"):
        file.write_text("[1, 2")
    assert to_liberty(Library.load(), "x") == text[0]


def test_gzip_and_plain_are_the_same_library(tmp_path):
    packed = tmp_path / "small.lib.gz"
    packed.write_bytes(gzip.compress(SHIPPED.read_bytes()))
    assert Library.load(packed).sha256 == Library.load().sha256


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"no liberty at all", "not Liberty text"),
        (b"", "not Liberty text"),
        (b"library (x) { area : -", "not Liberty text"),  # its parser waited for a ; for ever
        (b"library (x) { area : 1 + 1 } /* ; */", "not Liberty text"),
        (b"library (x) { } library (y) { }", "not Liberty text"),
        (b"cell (X) { area : 1; }", "not a library"),
        (b"\xef\xbb\xbfcell (X) { area : 1; }", "holds a cell, not a library"),
        (b'library (x) { include_file ("y.lib"); cell (A) { area : 1; } }', "merge the two"),
        (b'library (x) { time_unit : "1ns"; }', "no cells"),
        (b"library (x) { delay_model : polynomial; cell (A) { area : 1; } }", "table_lookup"),
        (b'library (x) { time_unit : "1parsec"; cell (A) { area : 1; } }', "time_unit"),
        (b"\x1f\x8b broken", "damaged gzip"),
        (
            b'library (x) { time_unit : "1e300s"; cell (A) { area : 1; } }',
            "1e[+]300 is no quantity",
        ),
        (b'library (x) { time_unit : "0ns"; cell (A) { area : 1; } }', "a unit of 0 is none"),
        (b"library (x) { capacitive_load_unit (1e-320, ff); }", "a unit of 9.99989e-321 is none"),
        (b"library (x) { nom_voltage : 1e999; cell (A) { area : 1; } }", "inf is no quantity"),
        (b"library (x) { cell (A) { area : nan; } }", "cell A: nan is no quantity"),
        (b"library (x) { cell (A) { area : much; } }", "cell A: 'much' is no number"),
        (
            b"library (x) { cell (A) { leakage_power () { value : -1e31; } } }",
            "cell A: -1e[+]31 is",
        ),
    ],
)
def test_bad_library_is_one_sentence(tmp_path, content, says):
    path = tmp_path / "bad.lib"
    path.write_bytes(content)
    with bounded(), pytest.raises(FlowError, match=says) as refusal:
        Library.load(path)
    assert str(path) in str(refusal.value)


ARC = """library (x) { time_unit : "1e30s";
  lu_table_template (t) { variable_1 : input_net_transition; index_1 ("1, 2"); }
  cell (INV_X1) { pin (ZN) { direction : output; function : "!A";
    timing () { related_pin : "A"; cell_rise (t) { index_1 ("%s"); values ("%s"); } } } } }"""


@pytest.mark.parametrize(
    ("index", "values", "says"),
    [
        ("inf, inf", "1, 2", "inf is no quantity; numbers up to 1e[+]30 are"),
        ("1, 2", "nan, 2", "nan is no quantity"),
        ("1, 1e31", "1, 2", "1e[+]31 is no quantity"),
        ("1, 1", "1, 2", "indices must rise"),
        ("1, 2", "1", "ValueError: cannot reshape"),
    ],
)
def test_a_bad_table_names_file_and_cell(tmp_path, index, values, says):
    """The largest units with the largest numbers do not overflow: that table is read."""
    path = tmp_path / "bad.lib"
    path.write_text(ARC % ("-1e30, 1e30", "-1e30, 1e30"))
    assert Library.load(path).cells["INV_X1"].arcs[0].cell_rise.index_1[1] == pytest.approx(1e72)
    path.write_text(ARC % (index, values))
    with pytest.raises(FlowError, match=f"{path}: cell INV_X1.*{says}"):
        Library.load(path)


@pytest.mark.parametrize(
    ("index", "values", "says"),
    [
        ([np.inf, np.inf], [1, 2], "must be finite"),
        ([1, np.nan], [1, 2], "must be finite"),
        ([1, 2], [1, -np.inf], "must be finite"),
        ([2, 1], [1, 2], "must rise"),
        ([-1.7e308, 1.7e308], [1, 2, 3], "cannot reshape"),
    ],
)
def test_a_table_of_no_numbers_is_refused(index, values, says):
    with pytest.raises(ValueError, match=says):
        Lut.of(index, [0.0], values)


ENERGY = """library (x) { capacitive_load_unit (1, ff);
  cell (NAND2_X1) { pin (A) { direction : input; } pin (B) { direction : input; }
    pin (Y) { direction : output; function : "!(A&B)"; %s } }
  cell (DFF_X1) { ff (IQ, IQN) { clocked_on : "C"; next_state : "D"; }
    pin (C) { direction : input; internal_power () { rise_power (scalar) { values ("9"); } } }
    pin (D) { direction : input; }
    pin (Y) { direction : output; function : "IQ"; %s } } }"""
POWER = 'internal_power () { %s rise_power (scalar) { values ("%s"); } }'
FALL = POWER.replace("rise", "fall")


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([POWER % ("related_pin : A;", 2), FALL % ("related_pin : A;", 3)], {("A", None): (2, 3)}),
        ([POWER % ('related_pin : "A B";', 2)], {("A", None): (2, 0), ("B", None): (2, 0)}),
        ([POWER % ("", 2)], {("A", None): (2, 0), ("B", None): (2, 0)}),
        (
            [
                POWER % (f'related_pin : A; when : "B"; related_pg_pin : {p};', 2)
                for p in ("V", "G")
            ],
            {("A", "B"): (4, 0)},
        ),
        (
            [POWER.replace("rise_power", "power") % ("related_pin : A;", 2)],
            {("A", None): (2, 2)},
        ),
    ],
)
def test_energy_of_an_output_in_other_words(tmp_path, groups, expected):
    """Edges or supplies in groups of their own add up; without a related pin all inputs are."""
    path = tmp_path / "energy.lib"
    path.write_text(ENERGY % ("".join(groups), POWER % ("", 5)))
    cells = Library.load(path).cells
    found = {
        (p.related_pin, p.when and p.when.text): (p.rise.at(1, 1), p.fall.at(1, 1))
        for p in cells["NAND2_X1"].internal_power
    }
    assert found == expected
    assert [(p.pin, p.related_pin) for p in cells["DFF_X1"].internal_power] == [
        ("C", None),
        ("Y", "C"),
    ]


def test_sum_of_tables_is_exact_between_and_beyond_their_points():
    first = Lut.of([10, 20], [1, 3, 5], [[1, 2, 4], [3, 5, 9]])
    second = Lut.of([5, 18, 40], [0], [[7], [1], [2]])
    for slew, load in itertools.product((0, 12, 19, 50), (0, 2, 4, 9)):
        expected = float(first(slew, load) + second(slew, load))
        assert float((first + second)(slew, load)) == pytest.approx(expected)


def test_compact_needs_its_cells():
    with pytest.raises(FlowError, match="no cell INV_X9"):
        compact(Library.load(), ["INV_X9"])
