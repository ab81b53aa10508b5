"""Energy of layers on whole arrays: whose codes the array sees, in which order, and the command."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
from test_flows_tiling import layer, write

from flows.array_layers import STREAMS, array_of, arrays, main, streams
from hw.rtl.spec import ArraySpec

CASES = [
    (layer(20, 9, 4, bits=3), ArraySpec(scheme="dvafs", rows=2, columns=2, depth=4)),
    (layer(7, 5, 3, bits=6, groups=2, a_signed=True), ArraySpec(scheme="dg", rows=4, columns=2)),
    (layer(20, 9, 4, bits=3), ArraySpec(scheme="dvafs_st", rows=2, columns=2, depth=4)),
]


@pytest.mark.parametrize(("case", "spec"), CASES)
def test_streams_carry_the_layers_tiles(case, spec) -> None:
    """Every tile's words of weights and activations are the layer's, and all its MACs counted."""
    mode = case.mode(spec.mac)
    cycles = 300
    found = streams(case, True, spec, mode, 1, cycles)
    assert (len(found), {len(stream) for stream in found}) == (STREAMS, {cycles})
    packed = [
        spec.pack(case.w[group], case.a[group], tile, mode)
        for group in range(case.groups)
        for tile in spec.tiles(*case.shape, mode)
    ]
    w_words = {tuple(row) for w, _ in packed for row in w.tolist()}
    a_words = {tuple(row) for _, a in packed for row in a.tolist()}
    for stream in found:
        seen_w = {tuple(v for v, _ in c.weights[: spec.columns]) for c in stream if c.weights}
        seen_a = {tuple(v for v, _ in c.activations[: spec.rows]) for c in stream if c.activations}
        assert seen_w <= w_words
        assert seen_a <= a_words
        assert len(seen_a) > 1
    beats = sum(c.activations is not None for c in found[0])
    assert 0 < sum(c.macs for c in found[0]) <= beats * spec.rows * spec.columns * mode.lanes


def test_uniform_codes_come_in_the_same_tiles() -> None:
    case, spec = CASES[0]
    mode = case.mode(spec.mac)
    own, uniform = (streams(case, which, spec, mode, 3, 200) for which in (True, False))
    for first, second in zip(own, uniform, strict=True):
        assert [c.macs for c in first] == [c.macs for c in second]
        assert first != second


def test_a_scheme_that_cannot_choose_its_bits_gets_an_array_of_them() -> None:
    layers = [layer(8, 4, 2, bits=5), layer(8, 6, 2, bits=3), layer(8, 4, 2, bits=5)]
    fixed, scaled = arrays(layers, ["fixed"], 4), arrays(layers, ["dvafs"], 4)
    assert {spec.w_width: len(own) for spec, own in fixed.items()} == {5: 2, 3: 1}
    assert [len(own) for own in scaled.values()] == [3]
    assert array_of("dg", layers[0], 4, 6).k_max == 6


def test_the_command_measures_idle_operands_below_uniform_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "layers").mkdir()
    zeros = {"a": np.zeros((1, 6, 4), np.int64), "sums": np.zeros((1, 6, 3), np.int64)}
    write(tmp_path / "layers/00-idle.npz", **zeros, bits=np.int64(4))
    words = ["array_layers", str(tmp_path / "layers"), "--schemes", "fixed", "--side", "2"]
    words += ["--build", str(tmp_path / "build"), "--out", str(tmp_path / "a.json"), "--json"]
    monkeypatch.setattr(sys, "argv", words)
    assert main() is None
    told = json.loads(capsys.readouterr().out)
    assert told == json.loads((tmp_path / "a.json").read_text())
    [row] = told["rows"]
    assert (row["layer"], row["array"], row["bits"]) == ("idle", "array_fixed_w4a4_2x2", 4)
    assert 0 < row["array_fj"] < 0.9 * row["uniform_fj"]
    assert 0 <= row["ci95_fj"] < 0.2 * row["array_fj"]
