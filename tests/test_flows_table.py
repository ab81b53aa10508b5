"""The contract: what a table refuses, and that it is written whole or not at all."""

import dataclasses
import errno
import json
import math

import pytest

from flows.table import SCHEMA, EnergyRow, EnergyTable, TableError, TableHeader

HEADER = TableHeader(
    library="toy",
    library_sha256="0" * 64,
    nominal_vdd_v=1.0,
    temperature_c=25.0,
    netlist_sha256={"mac_dg_16": "1" * 64},
    tools={"yosys": "0.70"},
    seed=0,
    vectors=10_240,
    delay_model="NLDM",
    voltage_model="none",
    date="2026-01-01",
)
ROW = EnergyRow(
    scheme="dg",
    w_bits=8,
    a_bits=8,
    stimulus="uniform",
    supply="nominal",
    energy_fj=10.0,
    switching_fj=4.0,
    internal_fj=3.0,
    clock_fj=2.0,
    leakage_fj=1.0,
    glitch_fj=2.5,
    ci95_fj=0.1,
    macs_per_cycle=1,
    critical_path_ps=900.0,
    clock_ps=1000.0,
    vdd_v=1.0,
    area_um2=2000.0,
    cells=1500,
    origin="netlist",
)


def change(**fields):
    return dataclasses.replace(ROW, **fields)


def test_a_table_comes_back_as_it_was_written(tmp_path):
    table = EnergyTable(HEADER, (ROW, change(w_bits=4, a_bits=4), change(supply="scaled")))
    table.save(tmp_path / "t.json")
    loaded = EnergyTable.load(tmp_path / "t.json")
    assert loaded == table
    assert loaded.sha256 == table.sha256
    assert loaded.row("dg", 8, 8, supply="scaled").supply == "scaled"
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"energy_fj": math.nan}, "energy_fj must be finite"),
        ({"clock_fj": -1.0}, "clock_fj must be finite and not negative"),
        ({"leakage_fj": math.inf}, "leakage_fj must be finite"),
        ({"energy_fj": 11.0}, "its parts add up to 10"),
        ({"scheme": "magic"}, "scheme 'magic' is not one of"),
        ({"supply": "low"}, "supply 'low' is not one of"),
        ({"origin": "guess"}, "origin 'guess' is not one of"),
        ({"w_bits": 17}, "w_bits must be a whole number from 1 to 16"),
        ({"a_bits": 0}, "a_bits must be a whole number from 1 to 16"),
        ({"a_bits": True}, "a_bits must be a whole number from 1 to 16"),
        ({"macs_per_cycle": 0}, "macs_per_cycle must be at least 1"),
        ({"cells": "many"}, "cells must be a number"),
        ({"stimulus": 3}, "stimulus must be a text"),
    ],
)
def test_a_row_that_cannot_be_is_refused(fields, sentence):
    with pytest.raises(TableError, match=sentence):
        EnergyTable(HEADER, (change(**fields),))


def test_a_row_may_be_there_once_only():
    with pytest.raises(TableError, match="is there twice"):
        EnergyTable(HEADER, (ROW, change(energy_fj=10.0)))
    with pytest.raises(TableError, match="no rows"):
        EnergyTable(HEADER, ())


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        (("dg", 7, 8, "uniform"), r"it has \(w_bits, a_bits\) = \[\(8, 8\)\]"),
        (("dvafs", 8, 8, "uniform"), r"it has \(scheme, stimulus\) = \[\('dg', 'uniform'\)\]"),
        (("dg", 8, 8, "gaussian"), r"no row for scheme dg, w_bits 8, a_bits 8, stimulus gaussian"),
    ],
)
def test_a_missing_row_names_those_that_are_there(asked, sentence):
    scheme, w_bits, a_bits, stimulus = asked
    with pytest.raises(TableError, match=sentence):
        EnergyTable(HEADER, (ROW,)).row(scheme, w_bits, a_bits, stimulus=stimulus)


def damage(data, how):
    match how:
        case "energy":
            data["rows"][0]["energy_fj"] = 9.0
            data["rows"][0]["clock_fj"] = 1.0
        case "schema":
            data["schema"] = "quanos.energy_table/0"
        case "nan":
            data["rows"][0]["ci95_fj"] = math.nan
        case "lacking":
            del data["rows"][0]["ci95_fj"]
        case "unknown":
            data["rows"][0]["colour"] = "red"
        case "headless":
            del data["header"]
    return json.dumps(data)


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ("energy", "was altered after it was written"),
        ("schema", f"this version reads '{SCHEMA}'"),
        ("nan", "ci95_fj must be finite"),
        ("lacking", "is incomplete"),
        ("unknown", "no colour"),
        ("headless", "is incomplete"),
    ],
)
def test_a_damaged_file_is_refused(how, sentence, tmp_path):
    path = tmp_path / "t.json"
    EnergyTable(HEADER, (ROW,)).save(path)
    path.write_text(damage(json.loads(path.read_text()), how))
    with pytest.raises(TableError, match=sentence):
        EnergyTable.load(path)


@pytest.mark.parametrize("content", ["", "[]", "{", "[" * 100_000, "\0"])
def test_a_file_that_is_no_table_is_refused(content, tmp_path):
    path = tmp_path / "t.json"
    path.write_text(content)
    with pytest.raises(TableError, match=r"t\.json"):
        EnergyTable.load(path)
    with pytest.raises(TableError, match="cannot be read"):
        EnergyTable.load(tmp_path / "missing.json")


def test_a_write_that_fails_leaves_the_old_table_and_nothing_beside_it(tmp_path, monkeypatch):
    path = tmp_path / "t.json"
    EnergyTable(HEADER, (ROW,)).save(path)
    before = path.read_bytes()

    def fail(*_args, **_kwargs):
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("pathlib.Path.replace", fail)
    with pytest.raises(OSError, match="no space"):
        EnergyTable(HEADER, (change(cells=1),)).save(path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["t.json"]


def test_the_shipped_table_has_every_precision_of_every_scheme():
    table = EnergyTable.load()
    for scheme in ("fixed", "dg", "dvafs", "dvafs_st"):
        for bits in range(1, 17):
            for supply in ("nominal", "scaled"):
                row = table.row(scheme, bits, bits, supply=supply)
                assert row.origin == "netlist"
                assert 0 < row.ci95_fj < 0.05 * row.energy_fj
    assert table.header.vectors >= 10_000
