"""Processing element of the systolic array: two weights, a multiplier and a partial sum."""

from amaranth.hdl import Cat, Module, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.adder import add
from hw.rtl.booth import create_multiplier
from hw.rtl.spec import MacSpec


def activation_layout(spec: MacSpec) -> data.StructLayout:
    """What travels from column to column: a gated activation, its mode, and the tile's start.

    `lanes` is one-hot, bit n for 2**n lanes; `swap` is set in the first beat of a tile.
    """
    fields = {"swap": 1, "a_signed": 1, "lanes": len(spec.lane_counts)}
    return data.StructLayout(fields | {"word": spec.lane_widths()[1]})


def weight_layout(spec: MacSpec) -> data.StructLayout:
    """What travels from row to row: a gated weight, where `valid`."""
    return data.StructLayout({"word": spec.lane_widths()[0], "valid": 1})


def element_ports(spec: MacSpec) -> dict[str, wiring.Member]:
    """Ports of an element, and of whatever takes its place."""
    return {
        "en": In(1),
        "a_in": In(activation_layout(spec)),
        "a_out": Out(activation_layout(spec)),
        "w_in": In(weight_layout(spec)),
        "w_out": Out(weight_layout(spec)),
        "sum_in": In(spec.acc_width),
        "sum_out": Out(spec.acc_width),
    }


class ProcessingElement(wiring.Component):
    """One crossing of a row (activations, to the right) and a column (weights and sums, down).

    Latency: `a_out` and `w_out` follow their inputs by one clock edge, `sum_out` its `sum_in` too
    and its activation by `spec.latency` = 3: operand, product, sum. Throughput one beat a cycle.
    Without `en` every register stands still.

    Of the weights that come down the element keeps the first and passes the rest on; `swap` makes
    the kept one the stationary weight (zero where none has come) from that very beat on. A tile's
    weights come after the swap of the tile before and before the tile's own.

    Control has a reset, data has none: an enable then becomes a clock gate. Guard bits of a segment
    that ends no lane stand still.
    """

    def __init__(self, spec: MacSpec):
        self.spec = spec
        super().__init__(element_ports(spec))

    def elaborate(self, platform):
        m = Module()
        self._pass_on(m)
        m.submodules.multiplier = multiplier = create_multiplier(self.spec)
        product = Signal.like(multiplier.p, reset_less=True)
        lanes = Signal(len(self.spec.lane_counts), name="product_lanes", reset_less=True)
        with m.If(self.en):
            m.d.sync += [product.eq(multiplier.p), lanes.eq(self.a_out.lanes)]
        m.d.comb += [
            multiplier.w.eq(self._weights(m)),
            multiplier.a.eq(self.a_out.word),
            multiplier.a_signed.eq(self.a_out.a_signed),
            multiplier.lanes.eq(self.a_out.lanes),
        ]
        self._add(m, product, lanes)
        return m

    def _pass_on(self, m: Module) -> None:
        """The activation to the right, with the control that goes with it."""
        layout = activation_layout(self.spec)
        swap = Signal(name="swap")
        rest = Signal(layout.size - 1, name="activation", reset_less=True)
        with m.If(self.en):
            m.d.sync += [swap.eq(self.a_in.swap), rest.eq(self.a_in.as_value()[1:])]
        m.d.comb += self.a_out.eq(Cat(swap, rest))

    def _weights(self, m: Module) -> Signal:
        """The stationary weight; the next one waits beside it."""
        width = self.spec.lane_widths()[0]
        stationary = Signal(width, reset_less=True)
        waiting = Signal(width, reset_less=True)
        passed = Signal(width, reset_less=True)
        kept, valid = Signal(name="kept"), Signal(name="valid")
        m.d.comb += [self.w_out.valid.eq(valid), self.w_out.word.eq(passed)]
        with m.If(self.en):
            m.d.sync += valid.eq(self.w_in.valid & kept)
            m.d.sync += kept.eq((kept | self.w_in.valid) & ~self.a_in.swap)
        with m.If(self.en & self.w_in.valid & kept):
            m.d.sync += passed.eq(self.w_in.word)
        with m.If(self.en & self.w_in.valid & ~kept):
            m.d.sync += waiting.eq(self.w_in.word)
        with m.If(self.en & self.a_in.swap):
            m.d.sync += stationary.eq(waiting & kept.replicate(width))
        return stationary

    def _add(self, m: Module, product: Signal, lanes: Signal) -> None:
        """The product onto the sum from above."""
        m.d.comb += self.sum_out.eq(add(m, self.spec, self.sum_in, product, lanes, self.en))
