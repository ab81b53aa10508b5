"""Processing element of the systolic array: two weights, a multiplier and a partial sum."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.multiplier import Multiplier
from hw.rtl.spec import MacSpec


def activation_layout(spec: MacSpec) -> data.StructLayout:
    """What travels from column to column: a gated activation, its mode, and the tile's start.

    `lanes` is one-hot, bit n for 2**n lanes; `swap` is set in the first beat of a tile.
    """
    fields = {"word": spec.lane_widths()[1], "a_signed": 1, "swap": 1}
    return data.StructLayout(fields | {"lanes": len(spec.lane_counts)})


def weight_layout(spec: MacSpec) -> data.StructLayout:
    """What travels from row to row: a gated weight, where `valid`."""
    return data.StructLayout({"word": spec.lane_widths()[0], "valid": 1})


class LaneAdder(wiring.Component):
    """Sum of two accumulator words, or of one and a product, lane by lane; combinational.

    A word is laid out as `spec.unpack` reads it: segments of sum bits, each with guard bits.
    Carries run from segment to segment within a lane; guard bits of a segment that ends no lane
    leave as zero, whatever they were.
    """

    def __init__(self, spec: MacSpec):
        self.spec = spec
        width = spec.acc_width
        lanes = len(spec.lane_counts)
        super().__init__({"x": In(width), "y": In(width), "lanes": In(lanes), "z": Out(width)})

    @property
    def segments(self) -> int:
        """How many segments a word has."""
        return self.spec.max_lanes if self.spec.scheme == "dvafs" else 1

    def extend(self, product: Value) -> Value:
        """The word to add for a multiplier's `p`: each segment's top bit fills its guard bits."""
        base, guard = len(product) // self.segments, self.spec.guard_bits
        parts = (product[n * base : (n + 1) * base] for n in range(self.segments))
        return Cat(Cat(part, part[-1].replicate(guard)) for part in parts)

    def elaborate(self, platform):
        m = Module()
        guard = self.spec.guard_bits
        stride = self.spec.acc_width // self.segments
        base, carry = stride - guard, Const(0, 1)
        for n in range(self.segments):
            x, y, z = (p[n * stride : (n + 1) * stride] for p in (self.x, self.y, self.z))
            last = self._ends_lane(n)
            step, top = Signal(base + 1, name=f"step{n}"), Signal(guard, name=f"top{n}")
            m.d.comb += [
                step.eq(x[:base] + y[:base] + carry),
                top.eq(x[base:] + y[base:] + step[base]),
                z.eq(Cat(step[:base], Mux(last, top, 0))),
            ]
            carry = step[base] & ~last
        return m

    def _ends_lane(self, n: int) -> Value:
        """Whether segment n is the last of its lane."""
        splits = [k for k in self.spec.lane_counts if (n + 1) * k % self.segments == 0]
        if len(splits) == len(self.spec.lane_counts):
            return Const(1, 1)
        return Cat(self.lanes[k.bit_length() - 1] for k in splits).any()


class ProcessingElement(wiring.Component):
    """One crossing of a row (activations, to the right) and a column (weights and sums, down).

    Latency: `a_out` and `w_out` follow their inputs by one clock edge; `sum_out` is `sum_in` plus
    the product of the activation that came two edges earlier, one edge later. Throughput one beat
    a cycle.

    Of the weights that come down the element keeps the first and passes the rest on; `swap` makes
    the kept one the stationary weight (zero where none has come) from that very beat on. A tile's
    weights come after the swap of the tile before and before the tile's own.
    """

    def __init__(self, spec: MacSpec):
        self.spec = spec
        super().__init__(
            {
                "a_in": In(activation_layout(spec)),
                "a_out": Out(activation_layout(spec)),
                "w_in": In(weight_layout(spec)),
                "w_out": Out(weight_layout(spec)),
                "sum_in": In(spec.acc_width),
                "sum_out": Out(spec.acc_width),
            }
        )

    @staticmethod
    def latency() -> int:
        """Clock edges from an activation to its partial sum: operand, product, sum."""
        return 3

    def elaborate(self, platform):
        m = Module()
        weight = self._weights(m)
        m.d.sync += self.a_out.eq(self.a_in)
        m.submodules.multiplier = multiplier = Multiplier(self.spec)
        m.submodules.adder = adder = LaneAdder(self.spec)
        product = Signal.like(multiplier.p, name="product", reset_less=True)
        lanes = Signal.like(adder.lanes, name="product_lanes", reset_less=True)
        m.d.sync += [product.eq(multiplier.p), lanes.eq(self.a_out.lanes)]
        m.d.comb += [
            multiplier.w.eq(weight),
            multiplier.a.eq(self.a_out.word),
            multiplier.a_signed.eq(self.a_out.a_signed),
            adder.x.eq(self.sum_in),
            adder.y.eq(adder.extend(product)),
            adder.lanes.eq(lanes),
        ]
        if self.spec.subword:
            m.d.comb += multiplier.lanes.eq(self.a_out.lanes)
        # Only control has a reset: a register with reset and enable would get no clock gate.
        total = Signal(self.spec.acc_width, reset_less=True)
        m.d.sync += total.eq(adder.z)
        m.d.comb += self.sum_out.eq(total)
        return m

    def _weights(self, m: Module) -> Signal:
        """The stationary weight; the next one waits beside it."""
        width = self.spec.lane_widths()[0]
        stationary = Signal(width, reset_less=True)
        waiting = Signal(width, reset_less=True)
        kept = Signal()
        m.d.sync += self.w_out.valid.eq(self.w_in.valid & kept)
        with m.If(self.w_in.valid & kept):
            m.d.sync += self.w_out.word.eq(self.w_in.word)
        with m.If(self.w_in.valid & ~kept):
            m.d.sync += [waiting.eq(self.w_in.word), kept.eq(1)]
        with m.If(self.a_in.swap):
            m.d.sync += [stationary.eq(Mux(kept, waiting, 0)), kept.eq(0)]
        return stationary
