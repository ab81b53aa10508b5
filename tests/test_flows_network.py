"""Energy of a network's layers on their own operands."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_flows_tiling import layer, write

from flows.energy.points import Point
from flows.network import layer_points, main, stream, uniform, write_streams
from flows.simulator.code_files import OperandFile
from flows.table import EnergyTable


def test_the_array_keeps_its_weights() -> None:
    """Every run is one weight and all its activations in the order of the output pixels."""
    case = layer(50, 9, 4, bits=8)
    w, a = stream(case, "stationary", seed=1, pairs=1000)
    assert len(w) == len(a) == 1000
    for start in range(0, 1000, 50):
        run = slice(start, start + 50)
        assert len(set(w[run])) == 1
        rows = [k for k in range(9) if np.array_equal(case.a[0, :, k], a[run])]
        assert rows
        assert any(w[start] in case.w[0, k] for k in rows)


def test_a_sum_meets_its_own_products() -> None:
    case = layer(50, 9, 4, bits=8, groups=3)
    w, a = stream(case, "dot", seed=1, pairs=900)
    sums = (w * a).reshape(-1, 9).sum(1)
    assert set(sums) <= set(case.sums.reshape(-1))
    assert len(set(sums)) > 50


def test_streams_say_their_bits(tmp_path: Path) -> None:
    layers = [layer(8, 4, 2, bits=5), layer(8, 4, 2, bits=1, a_signed=True)]
    layers[1].a[0, 0, 0] = 0  # as padding does
    object.__setattr__(layers[1], "name", "signs")
    files = write_streams(layers, "dot", 0, tmp_path)
    first, second = (OperandFile.load(files[one.name]) for one in layers)
    assert (first.bits, first.a_signed) == ((5, 5), False)
    assert (second.bits, second.a_signed) == ((1, 2), True)
    with pytest.raises(ValueError, match="two layers are called layer"):
        write_streams([layers[0], layers[0]], "dot", 0, tmp_path)


def test_every_layer_is_measured_beside_uniform_codes() -> None:
    layers = [layer(8, 4, 2, bits=5, a_signed=True), layer(8, 4, 2, bits=4)]
    assert uniform(layers[0]) == "uniform_signed"
    found = layer_points(layers, ["dg"])
    assert len(found) == 4
    expected = Point(scheme="dg", w_bits=4, a_bits=4, stimulus="uniform")
    assert expected in found


def test_the_command_measures_the_layers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Idle operands cost less than uniform ones: all activations of the layer are zero."""
    (tmp_path / "layers").mkdir()
    zeros = {"a": np.zeros((1, 6, 4), np.int64), "sums": np.zeros((1, 6, 3), np.int64)}
    write(tmp_path / "layers/00-idle.npz", **zeros)
    words = ["network", str(tmp_path / "layers"), "--schemes", "fixed"]
    words += ["--vectors", "640", "--workers", "1"]
    for name in ("rtl", "synth"):
        words += [f"--{name}", str(tmp_path / name)]
    monkeypatch.setattr(sys, "argv", [*words, "--out", str(tmp_path / "t.json"), "--json"])
    assert main() is None
    assert json.loads(capsys.readouterr().out)["rows"] == 4
    table = EnergyTable.load(tmp_path / "t.json")
    idle = table.row("fixed", 4, 4, stimulus="idle")
    assert idle.energy_fj < 0.8 * table.row("fixed", 4, 4).energy_fj
    assert idle.clock_fj == pytest.approx(
        table.row("fixed", 4, 4).clock_fj, rel=0.05
    )  # it ticks on
