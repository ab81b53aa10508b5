"""The systolic array in Amaranth's simulator against NumPy's integer product, and its cycles."""

import doctest
import re
from pathlib import Path

import numpy as np
import pytest
from amaranth.hdl import Const, Fragment
from amaranth.sim import Simulator

from flows.library import Library
from flows.synth import synthesize
from hw.rtl.booth import BoothMultiplier
from hw.rtl.multiplier import Multiplier
from hw.rtl.spec import ArraySpec, MacSpec
from hw.rtl.systolic_array import SystolicArray
from hw.rtl.verilog import default_arrays, default_specs, write
from hw.tb.sequences import operands

ARRAYS = [
    ArraySpec(rows=2, columns=3, w_width=3, a_width=5, k_max=11, depth=5),
    ArraySpec(scheme="dg", rows=4, columns=4, w_width=4, a_width=4, k_max=20, depth=4),
    ArraySpec(
        scheme="dvafs", rows=2, columns=3, w_width=8, a_width=8, min_lane=2, k_max=20, depth=4
    ),
    ArraySpec(
        scheme="dvafs_st", rows=3, columns=2, w_width=8, a_width=8, min_lane=2, k_max=40, depth=6
    ),
    ArraySpec(rows=1, columns=1, w_width=1, a_width=1, k_max=1, depth=1),
]


def random_product(spec, mode, shape, rng):
    """Codes of a product of `shape` (m, k, n) in `mode`."""
    m, k, n = shape
    w, a = operands(mode)
    return mode, rng.choice(w, (k, n)), rng.choice(a, (m, k))


def beats(spec, products):
    """Payloads of both input streams, tile after tile, product after product."""
    weights, activations = [], []
    for mode, w, a in products:
        controls = spec.mac.controls(mode)
        w_mode = {x: v for x, v in controls.items() if x in ("w_bits", "lanes")}
        a_mode = {x: v for x, v in controls.items() if x != "w_bits"}
        for tile in spec.tiles(len(a), len(w), w.shape[1], mode):
            w_words, a_words = spec.pack(w, a, tile, mode)
            for n, row in enumerate(w_words.tolist()):
                weights.append({"words": row, "last": n == tile.rows - 1} | w_mode)
            flags = {"clear": tile.clear, "emit": tile.emit}
            for n, row in enumerate(a_words.tolist()):
                activations.append({"words": row, "first": n == 0} | flags | a_mode)
    return weights, activations


def simulate(spec, products, rates=(1, 1, 1), seed=0, trace=None):
    """Beats of `sums` and the number of cycles up to the last of them.

    `rates` are the shares of cycles in which weights and activations are offered and sums taken.
    `trace`, a list, gets for every cycle which of the three streams transfer.
    """
    dut, sent = SystolicArray(spec), beats(spec, products)
    expected = sum(
        tile.beats
        for mode, w, a in products
        for tile in spec.tiles(len(a), len(w), w.shape[1], mode)
        if tile.emit
    )
    got, cycles = [], 0
    rng = np.random.default_rng(seed)

    def source(port, payloads, rate):
        async def bench(ctx):
            for payload in payloads:
                while rng.random() >= rate:
                    await ctx.tick()
                ctx.set(port.payload, payload)
                ctx.set(port.valid, 1)
                await ctx.tick().until(port.ready)
                ctx.set(port.valid, 0)

        return bench

    async def sink(ctx):
        nonlocal cycles
        while len(got) < expected:
            assert cycles < 20_000, "the array stands still"
            ready = bool(rng.random() < rates[2])
            ctx.set(dut.sums.ready, ready)
            streams = dut.weights, dut.activations, dut.sums
            moves = [port.valid & port.ready for port in streams]
            *_, valid, payload, w, a, s = await ctx.tick().sample(
                dut.sums.valid, dut.sums.payload, *moves
            )
            cycles += 1
            if trace is not None:
                trace.append((w, a, s))
            if ready and valid:
                got.append([payload[c] for c in range(spec.columns)])

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(sink)
    for port, payloads, rate in zip((dut.weights, dut.activations), sent, rates[:2], strict=True):
        simulator.add_testbench(source(port, payloads, rate))
    simulator.run()
    return got, cycles


def check(spec, products, got):
    """Every product equals NumPy's."""
    for mode, w, a in products:
        result = np.zeros((len(a), w.shape[1]), dtype=object)
        for tile in spec.tiles(len(a), len(w), w.shape[1], mode):
            if tile.emit:
                words, got = got[: tile.beats], got[tile.beats :]
                result[tile.m, tile.n] = spec.unpack(words, tile, mode)
        want = (a.astype(np.int64) @ w.astype(np.int64)) << spec.mac.shift(mode)
        assert result.tolist() == want.tolist(), (mode, a.shape, w.shape)
        assert spec.compute(w, a, mode).tolist() == want.tolist()
    assert not got


def random_shape(spec, mode, rng):
    """A shape of several tiles, partly filled ones among them."""
    per_row, per_column = spec.lanes_along(mode)
    m = int(rng.integers(1, 2 * spec.depth))
    k = int(rng.integers(1, spec.k_max // per_row + 1)) * per_row
    return m, k, int(rng.integers(1, 2 * spec.columns * per_column + 1))


@pytest.mark.parametrize("spec", ARRAYS, ids=lambda s: s.name)
@pytest.mark.parametrize("rates", [(1, 1, 1), (0.4, 0.9, 0.9), (0.9, 0.4, 0.9), (0.9, 0.9, 0.4)])
def test_products_of_changing_modes_under_stalls(spec, rates):
    rng = np.random.default_rng([7, int(10 * rates[0]), int(10 * rates[1])])
    modes = [spec.mac.modes()[n] for n in rng.permutation(len(spec.mac.modes()))[:4]]
    products = [random_product(spec, mode, random_shape(spec, mode, rng), rng) for mode in modes]
    got, _ = simulate(spec, products, rates, seed=3)
    check(spec, products, got)


@pytest.mark.parametrize("spec", ARRAYS, ids=lambda s: s.name)
def test_cycles_are_exact(spec):
    rng = np.random.default_rng(5)
    for mode in (spec.mac.modes()[0], spec.mac.modes()[-1]):
        for _ in range(2):
            shape = random_shape(spec, mode, rng)
            product = random_product(spec, mode, shape, rng)
            got, cycles = simulate(spec, [product])
            check(spec, [product], got)
            assert cycles == spec.cycles(*shape, mode), shape


def test_a_mode_switch_costs_no_cycle():
    """Products in two modes take as long as the same tiles in one mode."""
    spec = ArraySpec(scheme="dvafs", rows=2, columns=2, w_width=4, a_width=4, min_lane=2, k_max=8)
    rng = np.random.default_rng(2)
    narrow, wide = spec.mac.mode(2, 2), spec.mac.mode(4, 4, True)
    ones = [random_product(spec, mode, (5, 8, 2), rng) for mode in (wide, wide, wide)]
    other = random_product(spec, narrow, (5, 8, 4), rng)
    got, cycles = simulate(spec, [ones[0], other, ones[1]])
    check(spec, [ones[0], other, ones[1]], got)
    assert cycles == simulate(spec, ones)[1]


BAD_SPECS = [
    ({"rows": -1}, r"rows must be a whole number from 1 to 32, not -1"),
    ({"columns": 33}, r"columns must be a whole number from 1 to 32, not 33"),
    ({"k_max": 0}, r"k_max must be a whole number from 1 to 65536, not 0"),
    ({"depth": 1.5}, r"depth must be a whole number from 1 to 4096, not 1\.5"),
    ({"w_width": 0}, r"w_width must be a whole number from 1 to 32, not 0"),
    ({"scheme": "dvafs", "min_lane": 32}, r"min_lane 32 is larger than the word"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_SPECS)
def test_bad_parameters_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        ArraySpec(**arguments)


def test_a_product_that_does_not_fit_is_refused():
    spec = ArraySpec(scheme="dvafs_st", k_max=30)
    mode = spec.mac.mode(1, 1, True)
    w, a = np.ones((30, 2), dtype=int), np.ones((3, 30), dtype=int)
    with pytest.raises(ValueError, match=r"k must be a whole number from 1 to 30, not 31"):
        spec.cycles(3, 31, 2, mode)
    with pytest.raises(ValueError, match=r"shape \(M, K\) and weights \(K, N\)"):
        spec.compute(w, a.T, mode)
    with pytest.raises(ValueError, match=r"K must be a multiple of 4"):
        spec.pack(w, a, next(spec.tiles(3, 30, 2, mode)), mode)


def test_the_longest_sum_does_not_overflow():
    """k_max products of the largest operands, through a column of one element."""
    spec = ArraySpec(scheme="dvafs", rows=1, columns=1, w_width=4, a_width=4, min_lane=2, k_max=37)
    for mode, w, a in ((spec.mac.mode(4, 4), -8, 15), (spec.mac.mode(2, 2, True), -2, -2)):
        product = (mode, np.full((37, mode.lanes), w), np.full((1, 37), a))
        check(spec, [product], simulate(spec, [product])[0])


PAGE = Path(__file__).parents[1] / "docs" / "hardware.md"


def drawing(spec, lanes):
    """Partial products that a split keeps: rows are weight bits, columns activation bits."""
    multiplier, width = Multiplier(spec), spec.w_width
    Fragment.get(multiplier, platform=None)  # one that is never elaborated warns
    return "\n".join(
        " ".join("#" if multiplier._paired(i, j, lanes) else "." for j in reversed(range(width)))
        for i in range(width)
    )


@pytest.mark.parametrize("scheme", ["dvafs", "dvafs_st"])
def test_the_page_draws_the_partial_products(scheme):
    spec = MacSpec(scheme=scheme, w_width=8, a_width=8, min_lane=2)
    for lanes in spec.lane_counts:
        assert drawing(spec, lanes) in PAGE.read_text(encoding="utf-8")


def test_the_page_shows_the_arrays_timing():
    """Two tiles along K, two beats each, on 2 x 2 elements."""
    spec, trace = ArraySpec(rows=2, columns=2, w_width=2, a_width=2), []
    simulate(spec, [random_product(spec, spec.mac.mode(2, 2), (2, 4, 2), np.random.default_rng(1))],
             trace=trace)  # fmt: skip
    names = ("weights", "activations", "sums")
    lines = [
        f"{name:12}" + " ".join("#" if x else "." for x in row)
        for name, row in zip(names, zip(*trace, strict=True), strict=True)
    ]
    assert "\n".join(lines) in PAGE.read_text(encoding="utf-8"), "\n".join(lines)


def test_the_pages_examples_run():
    failed, tried = doctest.testfile(str(PAGE), module_relative=False)
    assert tried
    assert not failed


def booth_drawing(spec):
    """Rows of digits, then what is added to them: columns are product bits, lowest at the right."""
    multiplier, width = BoothMultiplier(spec), spec.w_width + spec.a_width
    Fragment.get(multiplier, platform=None)
    added, lines = ["."] * width, []
    for low in range(0, spec.w_width, 2):
        row = ["#"] * (len(multiplier._row(low)) - 1) + ["s"]
        lines.append((["."] * low + row + ["."] * width)[:width])
        added[low] = "n"
    for column, bits in enumerate(multiplier.partial_products()):
        if any(isinstance(bit, Const) for bit in bits):
            added[column] = "b" if added[column] == "n" else "1"
    return "\n".join(" ".join(reversed(line)) for line in [*lines, added])


def test_the_page_draws_booths_rows():
    drawn = booth_drawing(MacSpec(w_width=8, a_width=8, encoding="booth"))
    assert drawn in PAGE.read_text(encoding="utf-8"), drawn


def test_the_area_page_has_every_design_and_is_of_this_synthesis(tmp_path):
    """Small designs anew; 5 % are for another release of Yosys."""
    page = (PAGE.parent / "area.md").read_text(encoding="utf-8")
    areas = {row[0]: float(row[1]) for row in re.findall(r"\| (\w+) \| \d+ \| ([\d.]+) ", page)}
    assert set(areas) == {spec.name for spec in [*default_specs(), *default_arrays()]}
    library = Library.load()
    for spec in (MacSpec(w_width=1, a_width=1), MacSpec(w_width=4, a_width=4)):
        new = synthesize([write(spec, tmp_path)], spec.name, tmp_path, library)
        assert new.area_um2 == pytest.approx(areas[spec.name], rel=0.05)
