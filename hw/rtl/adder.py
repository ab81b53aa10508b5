"""Adders of bits and of accumulator words, in operators whose every bit is read.

Sums here never have a bit that nobody reads and operands that are narrower than their sum by more
than its carry: the emitted Verilog states each width exactly.
"""

from contextlib import nullcontext

from amaranth.hdl import Cat, Const, Module, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.spec import MacSpec


def at_least(value: Value, bound: int) -> Value:
    """Whether the unsigned `value` is `bound` or more, for a constant bound that it can reach."""
    result: Value = Const(1, 1)
    for n, bit in enumerate(value):
        result = bit & result if bound >> n & 1 else bit | result
    return result if bound else Const(1, 1)


def equals(value: Value, constant: int) -> Value:
    """Whether the unsigned `value` is the constant."""
    return Cat(bit if constant >> n & 1 else ~bit for n, bit in enumerate(value)).all()


def incremented(value: Value, carry: Value) -> Value:
    """`value + carry` modulo 2**len(value)."""
    return Cat(bit ^ (carry & value[:n].all() if n else carry) for n, bit in enumerate(value))


def modular_sum(m: Module, x: Value, y: Value) -> Value:
    """`x + y` modulo 2**len(x), for operands of one width."""
    if len(x) == 1:
        return x ^ y
    low = Signal(len(x), name="low_sum")
    m.d.comb += low.eq(x[:-1] + y[:-1])
    return Cat(low[:-1], low[-1] ^ x[-1] ^ y[-1])


class LaneAdder(wiring.Component):
    """Sum of an accumulator word `x` and, lane by lane, a product or another word; combinational.

    A word is laid out as `spec.unpack` reads it: segments of sum bits, each with guard bits. `y` is
    a multiplier's `p`, or with `words` a word. One adder spans the segments: a bit between two of
    them lets the carry pass, or takes it where a lane ends, for the guard bits. The guard bits of a
    segment that ends no lane add nothing.
    """

    def __init__(self, spec: MacSpec, words: bool = False):
        self.spec, self.words = spec, words
        width = spec.acc_width
        y_width = width if words else sum(spec.lane_widths())
        lanes = len(spec.lane_counts)
        super().__init__({"x": In(width), "y": In(y_width), "lanes": In(lanes), "z": Out(width)})

    def fields(self, word: Value) -> list[tuple[Value, Value]]:
        """Sum bits and guard bits of the segments of a word, lowest first."""
        stride = len(word) // self.spec.segments
        base = stride - self.spec.guard_bits
        starts = range(0, len(word), stride)
        return [(word[at : at + base], word[at + base : at + stride]) for at in starts]

    def ends_lane(self, n: int, lanes: Value) -> Value:
        """Whether segment n is the last of its lane."""
        splits = [k for k in self.spec.lane_counts if (n + 1) * k % self.spec.segments == 0]
        if len(splits) == len(self.spec.lane_counts):
            return Const(1, 1)
        return Cat(lanes[k.bit_length() - 1] for k in splits).any()

    def elaborate(self, platform):
        m = Module()
        if self.spec.segments == 1:
            y = self.y if self.words else _extended(self.y, len(self.x))
            m.d.comb += self.z.eq(modular_sum(m, self.x, y))
            return m
        lasts = [self.ends_lane(n, self.lanes) for n in range(self.spec.segments)]
        xs, ys = self.fields(self.x), self._addends()
        total = self._across(m, [x for x, _ in xs], [y for y, _ in ys], lasts)
        stride, parts = len(total) // self.spec.segments, []
        for n, ((_, x), (_, y), last) in enumerate(zip(xs, ys, lasts, strict=True)):
            step = total[n * stride : (n + 1) * stride]
            parts += [step[:-1], self._guards(m, x, y, step[-1], last)]
        m.d.comb += self.z.eq(Cat(parts))
        return m

    def _addends(self) -> list[tuple[Value, Value]]:
        """Sum bits of `y` and what it adds to the guard bits: bits of a word, or a sign."""
        if self.words:
            return self.fields(self.y)
        base = len(self.y) // self.spec.segments
        parts = [self.y[n * base : (n + 1) * base] for n in range(self.spec.segments)]
        return [(part, part[-1]) for part in parts]

    def _across(self, m: Module, xs: list, ys: list, lasts: list) -> Signal:
        """Sums of the segments, each with the carry out of it where it ends a lane."""
        walls = [*(~last for last in lasts[:-1]), Value.cast(Const(0, 0))]
        x = Cat(Cat(part, wall) for part, wall in zip(xs, walls, strict=True))
        y = Cat(Cat(part, Const(0, len(wall))) for part, wall in zip(ys, walls, strict=True))
        total = Signal(len(x) + 1, name="step")
        m.d.comb += total.eq(x + y)
        return total

    def _guards(self, m: Module, x: Value, y: Value, carry: Value, last: Value) -> Value:
        """The guard bits `x` with the carry out of the segment and what `y` adds to them."""
        if self.words:
            y = y & last.replicate(len(y))
            # x + y + carry in two operands: half adders leave the lowest carry bit free.
            return modular_sum(m, x ^ y, Cat(carry & last, x[:-1] & y[:-1]))
        minus = y & ~carry  # a negative product adds -1 and its carry adds 1
        step = Cat((y ^ carry) & last, (minus & last).replicate(len(x) - 1))
        return modular_sum(m, x, step)


def _extended(product: Value, width: int) -> Value:
    """The product with its sign in the bits above, `width` bits."""
    return Cat(product, product[-1].replicate(width - len(product)))


def add(
    m: Module, spec: MacSpec, x: Value, y: Value, lanes: Signal, en: Value | None = None
) -> Value:
    """Registers of the sum of `x` and `y` in lanes, as `sum_registers` has them."""
    m.submodules.adder = adder = LaneAdder(spec)
    m.d.comb += [adder.x.eq(x), adder.y.eq(y), adder.lanes.eq(lanes)]
    return sum_registers(m, adder, lanes, en)


def sum_registers(m: Module, adder: LaneAdder, lanes: Signal, en: Value | None = None) -> Value:
    """Registers of the adder's sum, taken at every edge or where `en`, as one word.

    Guard bits of a segment that ends no lane are not clocked.
    """
    parts: list[Signal] = []
    for n, (total, guard) in enumerate(adder.fields(adder.z)):
        parts += [Signal.like(total, name=f"sum{n}", reset_less=True)]
        parts += [Signal.like(guard, name=f"guard{n}", reset_less=True)]
        with nullcontext() if en is None else m.If(en):
            m.d.sync += parts[-2].eq(total)
        ends = adder.ends_lane(n, lanes)
        with m.If(ends if en is None else en & ends):
            m.d.sync += parts[-1].eq(guard)
    return Cat(parts)
