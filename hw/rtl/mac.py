"""Multiply-accumulate units: operand gate, multiplier, product register, accumulators."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.multiplier import Multiplier
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
        if scalable:
            ports["bits"] = In((width - 1).bit_length())
        if len(lane_counts) > 1:
            ports["lanes"] = In(len(lane_counts))
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        if not self.scalable:
            m.d.comb += self.gated.eq(self._whole())
            return m
        keep, force = Signal(self.width), Signal(self.width)
        binary = self.en & (self.bits == 0) & self.signed
        for i in range(self.width):
            m.d.comb += [keep[i].eq(self.en & self._kept(i)), force[i].eq(binary & self._forced(i))]
        m.d.comb += self.gated.eq((self.data & keep) | force)
        return m

    def _kept(self, i: int) -> Value:
        """Whether bit i is among the top `bits + 1` of its lane."""
        return self._by_split([self.bits >= lane - 1 - i % lane for lane in self._lane_widths()])

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
        if spec.scalable:
            ports["w_bits"] = In((spec.w_width - 1).bit_length())
            ports["a_bits"] = In((spec.a_width - 1).bit_length())
        if spec.subword:
            ports["lanes"] = In((len(spec.lane_counts) - 1).bit_length())
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        lanes = self._decode(m)
        m.submodules.multiplier = multiplier = Multiplier(self.spec)
        w, a = (self._operand(m, name, lanes) for name in ("w", "a"))
        product = Signal.like(multiplier.p, name="product")
        clears = Signal(2)
        m.d.comb += [multiplier.w.eq(w), multiplier.a.eq(a), multiplier.a_signed.eq(self.a_signed)]
        m.d.sync += [product.eq(multiplier.p), clears.eq(Cat(self.clear, clears[0]))]
        if self.spec.subword:
            m.d.comb += multiplier.lanes.eq(lanes)
        self._accumulate(m, product, clears[1], lanes)
        return m

    def _decode(self, m: Module) -> Signal | None:
        """One-hot number of lanes."""
        if not self.spec.subword:
            return None
        lanes = Signal(len(self.spec.lane_counts), name="split")
        m.d.comb += lanes.eq(Cat(self.lanes == n for n in range(len(self.spec.lane_counts))))
        return lanes

    def _operand(self, m: Module, name: str, lanes: Signal | None) -> Signal:
        """The gated operand's register."""
        port = getattr(self, name)
        gate = OperandGate(len(port), self.spec.lane_counts, self.spec.scalable)
        m.submodules[f"{name}_gate"] = gate
        m.d.comb += [
            gate.data.eq(port),
            gate.en.eq(self.en),
            gate.signed.eq(1 if name == "w" else self.a_signed),
        ]
        if self.spec.scalable:
            m.d.comb += gate.bits.eq(getattr(self, f"{name}_bits"))
        if lanes is not None:
            m.d.comb += gate.lanes.eq(lanes)
        register = Signal.like(gate.gated, name=f"{name}_register")
        m.d.sync += register.eq(gate.gated)
        return register

    def _accumulate(self, m: Module, product: Signal, clear: Value, lanes: Signal | None) -> None:
        """Segments of sum and guard bits; carries run from segment to segment within a lane."""
        count = self.spec.max_lanes if self.spec.scheme == "dvafs" else 1
        base, guard = len(product) // count, self.spec.guard_bits
        carry: Value = Const(0, 1)
        for n in range(count):
            total = Signal(base, name=f"sum{n}", reset_less=True)
            top = Signal(guard, name=f"guard{n}", reset_less=True)
            part = product[n * base : (n + 1) * base]
            # The last segment of a lane, in some split, owns the lane's guard bits.
            last = self._ends_lane(n, count, lanes)
            step = Signal(base + 1, name=f"step{n}")
            m.d.comb += step.eq(Mux(clear, 0, total) + part + carry)
            m.d.sync += total.eq(step[:base])
            with m.If(last):
                m.d.sync += top.eq(Mux(clear, 0, top) + part[-1].replicate(guard) + step[base])
            m.d.comb += self.acc[n * (base + guard) : (n + 1) * (base + guard)].eq(Cat(total, top))
            carry = step[base] & ~last

    def _ends_lane(self, n: int, count: int, lanes: Signal | None) -> Value:
        """Whether segment n of `count` is the last of its lane."""
        splits = [k for k in self.spec.lane_counts if (n + 1) * k % count == 0]
        if count == 1 or len(splits) == len(self.spec.lane_counts):
            return Const(1, 1)
        return Cat(lanes[k.bit_length() - 1] for k in splits).any()
