"""Codes within their range, seeds that decide everything, files that are refused."""

import numpy as np
import pytest
from mac_stimulus import mac_inputs as inputs_of

from flows import stimulus
from flows.console import FlowError
from flows.netlist import Netlist
from flows.simulator import code_files
from hw.rtl.spec import MacSpec

SHAPE = (400, 5)


def rng():
    return np.random.default_rng(11)


@pytest.mark.parametrize("kind", stimulus.KINDS)
@pytest.mark.parametrize("bits", [1, 2, 3, 8, 16])
def test_codes_stay_in_range_and_reach_both_ends(bits, kind):
    w = stimulus.weights(rng(), kind, bits, SHAPE)
    a = stimulus.activations(rng(), kind, bits, SHAPE)
    signed = stimulus.activations(rng(), kind, bits, SHAPE, signed=True)
    most = max(1, 2 ** (bits - 1) - 1)
    assert np.abs(w).max() <= most
    assert np.abs(signed).max() <= most
    assert a.min() >= 0
    assert a.max() <= 2**bits - 1
    if kind == "uniform" and bits <= 3:
        assert {w.min(), w.max()} == {-most, most}
        assert a.max() == 2**bits - 1
    if bits == 1:
        assert set(np.unique(w)) == {-1, 1}


def test_bell_shaped_codes_are_smaller_than_uniform_ones():
    for make in (stimulus.weights, stimulus.activations):
        sizes = [np.abs(make(rng(), kind, 16, SHAPE)).mean() for kind in ("gaussian", "uniform")]
        assert sizes[0] < 0.6 * sizes[1]


def test_rounds_hold_the_vectors_in_equal_batches_with_independent_generators():
    rounds = stimulus.rounds(40_000, seed=3)
    assert sum(r.vectors for r in rounds) >= 40_000
    assert len({r.batches for r in rounds}) == 1
    draws = [g.integers(0, 2**62) for r in rounds for g in r.generators()]
    assert len(set(draws)) == len(draws)
    assert draws == [g.integers(0, 2**62) for r in rounds for g in r.generators()]


def mac_inputs(kind, mode, spec):
    width = spec.w_width
    netlist = Netlist(
        "ports",
        ("0", "1", *(f"n{i}" for i in range(2 * width + 3))),
        {
            "w": tuple(range(2, 2 + width)),
            "a": tuple(range(2 + width, 2 + 2 * width)),
            "clear": (2 + 2 * width,),
            "en": (3 + 2 * width,),
            "a_signed": (4 + 2 * width,),
        },
        {},
        (),
    )
    return netlist, inputs_of(spec, mode, netlist, kind, rng(), 3, 8)


def test_a_mac_gets_its_operands_controls_and_restarts():
    spec = MacSpec(scheme="dg")
    netlist, inputs = mac_inputs("uniform", spec.mode(4, 4), spec)
    low = [inputs[n] for p in ("w", "a") for n in netlist.inputs[p][:12]]
    assert not np.any(low)
    assert all(inputs[n].any() for p in ("w", "a") for n in netlist.inputs[p][12:])
    assert inputs[netlist.inputs["en"][0]].all()
    assert not inputs[netlist.inputs["a_signed"][0]].any()
    clear = inputs[netlist.inputs["clear"][0]]
    assert clear.shape == (72, 3)
    assert np.flatnonzero(clear[:, 0]).tolist() == [0, 64]


def test_a_file_of_codes_is_read_in_its_order():
    spec = MacSpec(scheme="dg")
    codes = {"w": np.array([1, 2, 3]), "a": np.array([5, 6, 7])}
    netlist, inputs = mac_inputs(codes, spec.mode(4, 4), spec)
    w = sum(inputs[n].astype(int) << i for i, n in enumerate(netlist.inputs["w"])) >> 12
    assert set(np.unique(w)) == {1, 2, 3}
    assert np.all(np.diff(w, axis=0) % 3 == 1)


@pytest.mark.parametrize(("name", "code"), [("w", 8), ("w", -9), ("a", 16), ("a", -1)])
def test_codes_outside_the_mode_are_refused_by_name(name, code):
    spec = MacSpec(scheme="dg")
    codes = {"w": np.array([1, 2]), "a": np.array([1, 2])}
    codes[name][1] = code
    with pytest.raises(FlowError, match=f"array {name} holds the code {code}; .* takes"):
        mac_inputs(codes, spec.mode(4, 4), spec)


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"w": np.array([0.5])}, "array w must hold integers"),
        ({"w": np.arange(3), "a": np.arange(4)}, "arrays of one length"),
        ({"w": np.array([], int)}, "array w must hold integers"),
        ({"w": np.array([None])}, "is no .npz file of arrays"),
        ({"w": np.array([2**63], np.uint64)}, "array w holds 9223372036854775808; 92"),  # was -2^63
    ],
)
def test_files_that_are_no_stimulus_are_refused(arrays, sentence, tmp_path):
    np.savez(tmp_path / "x.npz", **arrays)
    with pytest.raises(FlowError, match=sentence):
        code_files.load(tmp_path / "x.npz")


def test_a_file_that_is_no_archive_is_refused(tmp_path):
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(FlowError, match=r"is no \.npz file"):
        code_files.load(tmp_path / "x.npz")
