"""Multiplier, its reduction and the operand gate, exhaustively at small widths."""

import itertools
import random

import pytest
from amaranth.hdl import Const, Module, Signal
from amaranth.sim import Simulator

from hw.rtl.booth import create_multiplier
from hw.rtl.mac import OperandGate
from hw.rtl.multiplier import Multiplier
from hw.rtl.reduction import dadda_heights, reduce_columns
from hw.rtl.spec import MacSpec

SEED = 3
SAMPLE = 150  # operand pairs of a multiplier that is too wide to try all


def signed(value: int, width: int) -> int:
    """Two's complement value of the low `width` bits."""
    value &= (1 << width) - 1
    return value - (1 << width) if value >> (width - 1) else value


def simulate(component, process) -> None:
    """Run a test bench on a combinational component."""
    simulator = Simulator(component)
    simulator.add_testbench(process)
    simulator.run()


def product(spec: MacSpec, w: int, a: int, a_signed: int, lanes: int) -> int:
    """The multiplier's output by Python's own products, lane by lane."""
    w_lane, a_lane = spec.lane_widths(lanes)
    total = 0
    for lane in range(lanes):
        together = spec.scheme == "dvafs_st"
        partner = lanes - 1 - lane if together else lane
        activation = (a >> (partner * a_lane)) & ((1 << a_lane) - 1)
        value = signed(w >> (lane * w_lane), w_lane)
        value *= signed(activation, a_lane) if a_signed else activation
        if together:
            total += value << ((lanes - 1) * w_lane)
        else:
            total |= (value % (1 << (w_lane + a_lane))) << (lane * (w_lane + a_lane))
    return total % (1 << sum(spec.lane_widths()))


def pairs(w_width: int, a_width: int) -> list[tuple[int, int]]:
    """Every pair of words, or a seeded sample that holds the corners."""
    if w_width + a_width <= 8:
        return list(itertools.product(range(1 << w_width), range(1 << a_width)))
    rng = random.Random(SEED)
    ends = [(w, a) for w in (0, 1, 1 << (w_width - 1), (1 << w_width) - 1)
            for a in (0, 1, 1 << (a_width - 1), (1 << a_width) - 1)]  # fmt: skip
    count = SAMPLE if w_width + a_width <= 16 else SAMPLE // 8  # wide ones simulate slowly
    return ends + [(rng.getrandbits(w_width), rng.getrandbits(a_width)) for _ in range(count)]


MULTIPLIERS = [
    *(MacSpec(w_width=w, a_width=a) for w, a in [(1, 1), (2, 2), (3, 3), (4, 4), (3, 5), (5, 2)]),
    *(MacSpec(scheme=s, w_width=4, a_width=4, min_lane=2) for s in ("dg", "dvafs", "dvafs_st")),
    *(MacSpec(scheme=s, w_width=8, a_width=8, min_lane=2) for s in ("dvafs", "dvafs_st")),
    *(
        MacSpec(w_width=w, a_width=a, encoding="booth")
        for w, a in [(1, 1), (2, 2), (2, 5), (3, 3), (4, 4), (3, 5), (5, 2), (7, 9)]
    ),
    MacSpec(scheme="dg", encoding="booth"),
    MacSpec(scheme="dg", w_width=32, a_width=32),
    MacSpec(w_width=32, a_width=31, encoding="booth"),
]


@pytest.mark.parametrize("spec", MULTIPLIERS, ids=lambda spec: spec.name)
def test_multiplier_is_the_product_of_every_lane(spec):
    multiplier = create_multiplier(spec)
    operands = pairs(multiplier.w_width, multiplier.a_width)

    async def process(ctx):
        for lanes, a_signed in itertools.product(spec.lane_counts, (0, 1)):
            ctx.set(multiplier.a_signed, a_signed)
            if spec.subword:
                ctx.set(multiplier.lanes, lanes)
            for w, a in operands:
                ctx.set(multiplier.w, w)
                ctx.set(multiplier.a, a)
                want = product(spec, w, a, a_signed, lanes)
                assert ctx.get(multiplier.p) == want, (w, a, a_signed, lanes)

    simulate(multiplier, process)


class OneBitLess(Multiplier):
    """A multiplier that lost one partial product."""

    def _partial_product(self, i, j, splits):
        return Const(0, 1) if (i, j) == (1, 2) else super()._partial_product(i, j, splits)


def test_a_lost_partial_product_is_noticed():
    multiplier = OneBitLess(MacSpec(w_width=4, a_width=4))

    async def process(ctx):
        wrong = 0
        for w, a in pairs(4, 4):
            ctx.set(multiplier.w, w)
            ctx.set(multiplier.a, a)
            wrong += ctx.get(multiplier.p) != product(multiplier.spec, w, a, 0, 1)
        assert wrong == 64  # w[1] and a[2] are both one in a quarter of the 256 pairs

    simulate(multiplier, process)


@pytest.mark.parametrize("heights", [(1, 2, 3, 2, 1), (9, 1, 0, 4, 4), (16,) * 3, (2, 2)], ids=str)
def test_reduction_keeps_the_sum_in_two_rows(heights):
    m, inputs = Module(), [[Signal(name=f"bit{c}_{n}") for n in range(h)] for c, h in
                           enumerate(heights)]  # fmt: skip
    columns = reduce_columns(m, [list(column) for column in inputs])
    assert max(map(len, columns)) <= 2
    outputs = [Signal(2, name=f"column{n}") for n in range(len(columns))]
    m.d.comb += [
        out.eq(sum(column, Const(0, 1))) for out, column in zip(outputs, columns, strict=True)
    ]
    rng = random.Random(SEED)

    async def process(ctx):
        for _ in range(200):
            total = 0
            for weight, column in enumerate(inputs):
                for bit in column:
                    value = rng.getrandbits(1)
                    ctx.set(bit, value)
                    total += value << weight
            got = sum(ctx.get(out) << weight for weight, out in enumerate(outputs))
            assert (got - total) % (1 << len(columns)) == 0

    simulate(m, process)


def test_dadda_heights_are_those_of_his_paper():
    assert dadda_heights(32) == [28, 19, 13, 9, 6, 4, 3, 2]
    assert dadda_heights(2) == []


@pytest.mark.parametrize("is_signed", [0, 1], ids=["unsigned", "signed"])
def test_gate_holds_unused_bits_at_zero_whatever_the_caller_sends(is_signed):
    gate = OperandGate(8, (1, 2, 4), scalable=True)

    async def process(ctx):
        ctx.set(gate.data, 0xFF)
        ctx.set(gate.signed, is_signed)
        for split, lanes in enumerate((1, 2, 4)):
            lane = 8 // lanes
            ctx.set(gate.lanes, 1 << split)
            for bits in range(1, lane + 1):
                ctx.set(gate.bits, bits - 1)
                ctx.set(gate.en, 1)
                ones = 2 if bits == 1 and is_signed else bits
                field = ((1 << ones) - 1) << (lane - ones)
                assert ctx.get(gate.gated) == sum(field << (n * lane) for n in range(lanes))
                ctx.set(gate.en, 0)
                assert ctx.get(gate.gated) == 0

    simulate(gate, process)
