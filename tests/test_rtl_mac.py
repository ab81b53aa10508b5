"""The MACs in Amaranth's own simulator, every mode at small widths, wrap-around included."""

import numpy as np
import pytest
from amaranth.sim import Simulator
from combinational import outputs

from hw.rtl.mac import Mac
from hw.rtl.multiplier import Multiplier
from hw.rtl.spec import MacSpec
from hw.tb.drivers import Driver
from hw.tb.sequences import all_modes, sequences

MACS = [
    MacSpec(w_width=1, a_width=1, guard_bits=1),
    MacSpec(w_width=2, a_width=2, guard_bits=2),
    MacSpec(w_width=3, a_width=5, guard_bits=1),
    MacSpec(scheme="dg", w_width=3, a_width=4, guard_bits=2),
    MacSpec(scheme="dg", w_width=4, a_width=3, guard_bits=2, encoding="booth"),
    MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2, guard_bits=2),
    MacSpec(scheme="dvafs_st", w_width=4, a_width=4, min_lane=2, guard_bits=2),
]


def beats(spec, batch):
    """Port values of every cycle of the sequences, each followed by cycles to drain."""
    driver = Driver(spec, 5)
    for sequence in batch:
        controls = spec.controls(sequence.mode)
        words = (*driver.words(sequence), sequence.en, sequence.clear)
        rows = [
            dict(zip(("w", "a", "en", "clear"), map(int, row), strict=True))
            for row in zip(*words, strict=True)
        ]
        for row in rows + [{"en": 0, "clear": 0}] * (spec.latency - 1):
            yield controls | row


def simulate(spec, batch):
    """`acc` after every clock edge of the sequences in turn."""
    dut, got = Mac(spec), []

    async def bench(ctx):
        for values in beats(spec, batch):
            for port, value in values.items():
                ctx.set(getattr(dut, port), value)
            await ctx.tick()
            got.append(ctx.get(dut.acc))

    simulator = Simulator(dut)
    simulator.add_clock(1e-6)
    simulator.add_testbench(bench)
    simulator.run()
    return got


@pytest.mark.parametrize("spec", MACS, ids=lambda s: s.name)
def test_every_mode_agrees_with_the_golden_model(spec):
    batch = [
        sequence.head(80) for mode in all_modes(spec) for sequence in sequences(mode, 24, seed=3)
    ]
    drain, acc = spec.latency - 1, simulate(spec, batch)
    for sequence in batch:
        words, acc = acc[drain : drain + len(sequence)], acc[drain + len(sequence) :]
        got = spec.unpack(np.array(words, dtype=object), sequence.mode)
        assert got.tolist() == sequence.golden(spec).tolist(), (sequence.mode, sequence.pattern)


def product_of(spec, mode, pairs):
    """The multiplier's output, `p`, for pairs of operand words."""
    held = {"a_signed": int(mode.a_signed), "lanes": mode.lanes}  # powers of two are one-hot
    return outputs(Multiplier(spec), "p", ({"w": w, "a": a} | held for w, a in pairs))


@pytest.mark.parametrize("a_signed", [False, True])
def test_no_carry_crosses_a_lane(a_signed):
    """Every word of two 2-bit lanes by every other: each lane's product is its own operands'."""
    spec = MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2)
    mode = spec.mode(2, 2, a_signed)
    pairs = [(w, a) for w in range(16) for a in range(16)]
    for (w, a), p in zip(pairs, product_of(spec, mode, pairs), strict=True):
        for lane in range(2):
            x, y = (w >> 2 * lane) & 3, (a >> 2 * lane) & 3
            want = (x - 4 * (x > 1)) * (y - 4 * (a_signed and y > 1))
            assert (p >> 4 * lane) & 15 == want % 16, (w, a, lane)


def test_neighbours_change_nothing_in_a_lane():
    """Lane 1 of four keeps its product whatever stands in the other lanes."""
    spec = MacSpec(scheme="dvafs", w_width=8, a_width=8, min_lane=2)
    mode, rng = spec.mode(2, 2, True), np.random.default_rng(11)
    own = rng.integers(0, 4, (200, 2))
    others = rng.integers(0, 256, (2, 200, 2)) & ~0b1100
    first, second = (
        product_of(spec, mode, [(int(w), int(a)) for w, a in other | (own << 2)])
        for other in others
    )
    assert [p >> 4 & 15 for p in first] == [p >> 4 & 15 for p in second]
    assert first != second
