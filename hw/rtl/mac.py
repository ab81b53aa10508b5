"""Multiply-accumulate units: operand gate, multiplier, product register, accumulators."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.adder import add, at_least, equals
from hw.rtl.booth import create_multiplier
from hw.rtl.spec import MacSpec


class OperandGate(wiring.Component):
    """Hold the bits of an operand that the mode does not use at zero; combinational.

    Of every lane of `data` the top `bits + 1` bits pass. Where `binary` holds, `bits` of zero mean
    +1 or -1: the sign bit passes and the bit below it is one. Without `en` the operand is zero.
    """

    def __init__(self, width: int, lane_counts: tuple[int, ...], scalable: bool):
        self.width, self.lane_counts, self.scalable = width, lane_counts, scalable
        inner = max(width, 2)
        ports = {"data": In(width), "en": In(1), "signed": In(1), "gated": Out(inner)}
        ports["lanes"] = In(len(lane_counts))
        if scalable:
            ports["bits"] = In((width - 1).bit_length())
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        if not self.scalable:
            m.d.comb += self.gated.eq(self._whole())
            return m
        binary = self.en & ~self.bits.any() & self.signed
        m.d.comb += self.gated.eq(
            Cat(
                (self.data[i] & self.en & self._kept(i)) | (binary & self._forced(i))
                for i in range(self.width)
            )
        )
        return m

    def _kept(self, i: int) -> Value:
        """Whether bit i is among the top `bits + 1` of its lane."""
        return self._by_split(
            [at_least(self.bits, lane - 1 - i % lane) for lane in self._lane_widths()]
        )

    def _forced(self, i: int) -> Value:
        """Whether bit i is the second of its lane, which a one-bit operand sets."""
        return self._by_split([Const(i % lane == lane - 2, 1) for lane in self._lane_widths()])

    def _lane_widths(self) -> list[int]:
        return [self.width // n for n in self.lane_counts]

    def _by_split(self, values: list[Value]) -> Value:
        """The value for the present split into lanes."""
        if len(values) == 1:
            return values[0]
        return Cat(self.lanes[n] & value for n, value in enumerate(values)).any()

    def _whole(self) -> Value:
        if self.width > 1:
            return Mux(self.en, self.data, 0)
        return Cat(self.en & self.signed, self.en & self.data)


class Mac(wiring.Component):
    """Multiply-accumulate at one of the precisions of `spec`.

    Latency `spec.latency` = 3 clock edges, throughput one pair of words per cycle. `clear` comes
    with the operands that start a new sum; without `en` the operands count as zero, which holds the
    sum. `acc` is laid out as `spec.unpack` reads it. There is no reset: `clear` starts a sum.
    """

    def __init__(self, spec: MacSpec):
        self.spec = spec
        ports = {
            "w": In(spec.w_width),
            "a": In(spec.a_width),
            "a_signed": In(1),
            "en": In(1),
            "clear": In(1),
            "acc": Out(spec.acc_width),
        }
        ports |= {name: In(width) for name, width in spec.control_widths.items() if width}
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        lanes = self._decode(m)
        m.submodules.multiplier = multiplier = create_multiplier(self.spec)
        w, a = (self._operand(m, name, lanes) for name in ("w", "a"))
        product = Signal.like(multiplier.p, name="product")
        clears = Signal(2)
        m.d.comb += [multiplier.w.eq(w), multiplier.a.eq(a), multiplier.a_signed.eq(self.a_signed)]
        m.d.sync += [product.eq(multiplier.p), clears.eq(Cat(self.clear, clears[0]))]
        m.d.comb += multiplier.lanes.eq(lanes)
        self._accumulate(m, product, clears[1], lanes)
        return m

    def _decode(self, m: Module) -> Signal:
        """One-hot number of lanes."""
        lanes = Signal(len(self.spec.lane_counts), name="split")
        splits = [equals(self.lanes, n) for n in range(len(lanes))] if len(lanes) > 1 else [1]
        m.d.comb += lanes.eq(Cat(splits))
        return lanes

    def _operand(self, m: Module, name: str, lanes: Signal) -> Signal:
        """The gated operand's register."""
        port = getattr(self, name)
        gate = OperandGate(len(port), self.spec.lane_counts, self.spec.scalable)
        m.submodules[f"{name}_gate"] = gate
        m.d.comb += [
            gate.data.eq(port),
            gate.en.eq(self.en),
            gate.lanes.eq(lanes),
            gate.signed.eq(1 if name == "w" else self.a_signed),
        ]
        if self.spec.scalable:
            m.d.comb += gate.bits.eq(getattr(self, f"{name}_bits"))
        register = Signal.like(gate.gated, name=f"{name}_register")
        m.d.sync += register.eq(gate.gated)
        return register

    def _accumulate(self, m: Module, product: Signal, clear: Value, lanes: Signal) -> None:
        """The sum so far, or zero at a `clear`, plus the product."""
        before = Mux(clear, 0, self.acc)
        m.d.comb += self.acc.eq(add(m, self.spec, before, product, lanes))
