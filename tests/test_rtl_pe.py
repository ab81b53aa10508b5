"""The processing element: its adder in every split, and which weights it keeps and passes on."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from combinational import outputs

from hw.rtl.adder import LaneAdder
from hw.rtl.pe import ProcessingElement
from hw.rtl.spec import MacSpec

DVAFS = MacSpec(scheme="dvafs", w_width=8, a_width=8, min_lane=2, guard_bits=2)


@pytest.mark.parametrize("lanes", DVAFS.lane_counts)
def test_adder_adds_lane_by_lane(lanes):
    dut, mode, rng = (
        LaneAdder(DVAFS, words=True),
        DVAFS.mode(8 // lanes, 8 // lanes),
        np.random.default_rng(4),
    )
    pairs = [tuple(map(int, pair)) for pair in rng.integers(0, 2**DVAFS.acc_width, (200, 2))]
    rows = ({"x": x, "y": y, "lanes": lanes} for x, y in pairs)  # powers of two are one-hot
    got = outputs(dut, "z", rows)
    x, y, z = (DVAFS.unpack(words, mode) for words in (*zip(*pairs, strict=True), got))
    assert not np.any((x + y - z) % 2 ** DVAFS.acc_bits(lanes))
    stride, per_lane = DVAFS.acc_width // DVAFS.segments, DVAFS.segments // lanes
    inner = [(n + 1) * stride - 2 for n in range(DVAFS.segments) if (n + 1) % per_lane]
    changes = [word ^ x for word, (x, _) in zip(got, pairs, strict=True)]
    assert not any((change >> at) & 3 for change in changes for at in inner)  # guard bits at rest


def test_element_keeps_its_first_weight_and_passes_the_rest():
    """Three tiles, the last without a weight for this row: (weight, swap, activation) a beat."""
    spec = MacSpec(scheme="dg", w_width=4, a_width=4, guard_bits=2)
    dut, passed, sums = ProcessingElement(spec), [], []
    beats = [(3, 0, 0), (5, 0, 0), (6, 0, 0), (None, 1, 2), (7, 0, 4)]
    beats += [(None, 1, 1), (None, 0, 3), (None, 1, 9), (None, 0, 0), (None, 0, 0), (None, 0, 0)]

    async def bench(ctx):
        ctx.set(dut.en, 1)
        ctx.set(dut.a_in.lanes, 1)
        ctx.set(dut.sum_in, 100)
        for weight, swap, activation in beats:
            ctx.set(dut.w_in.valid, weight is not None)
            ctx.set(dut.w_in.word, weight or 0)
            ctx.set(dut.a_in.swap, swap)
            ctx.set(dut.a_in.word, activation)
            await ctx.tick()
            sums.append(ctx.get(dut.sum_out))
            if ctx.get(dut.w_out.valid):
                passed.append(ctx.get(dut.w_out.word))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    assert passed == [5, 6]
    after = sums[3 + spec.latency - 1 :]
    assert after == [100 + p for p in (3 * 2, 3 * 4, 7 * 1, 7 * 3, 0, 0)]
