"""Weight-stationary systolic array: activations run right, partial sums run down.

Row r gets its operands r edges after row 0 and column c gets them c edges after column 0, so that
whatever enters the array in one cycle, weights or activations, meets every processing element in
the same order. Tiles follow each other without a gap, and what is true at the edge of the array (a
tile's weights are all there, the next tile's have not begun) is true in each element in its time.
"""

from amaranth.hdl import Cat, EnableInserter, Module, Mux, Signal, Value
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.mac import OperandGate
from hw.rtl.pe import LaneAdder, ProcessingElement, activation_layout, weight_layout
from hw.rtl.spec import ArraySpec


def weights_layout(spec: ArraySpec) -> data.StructLayout:
    """A beat of weights: one row of a tile, `last` with the tile's last row, the precision."""
    mac = spec.mac
    fields = {"words": data.ArrayLayout(mac.w_width, spec.columns), "last": 1}
    if mac.scalable:
        fields["w_bits"] = (mac.w_width - 1).bit_length()
    if mac.subword:
        fields["lanes"] = (len(mac.lane_counts) - 1).bit_length()
    return data.StructLayout(fields)


def activations_layout(spec: ArraySpec) -> data.StructLayout:
    """A beat of activations: a word for every row, the tile's flags, the mode.

    `first` is set in a tile's first beat. In all its beats, `clear` says that the tile starts sums
    and `emit` that it ends them.
    """
    mac = spec.mac
    fields = {"words": data.ArrayLayout(mac.a_width, spec.rows), "first": 1, "clear": 1, "emit": 1}
    fields["a_signed"] = 1
    if mac.scalable:
        fields["a_bits"] = (mac.a_width - 1).bit_length()
    if mac.subword:
        fields["lanes"] = (len(mac.lane_counts) - 1).bit_length()
    return data.StructLayout(fields)


class SystolicArray(wiring.Component):
    """Matrix product of streams, tile by tile as `spec.tiles` orders them.

    Latency `spec.latency` clock edges from a beat of activations to its beat of sums, throughput
    one beat a cycle. `sums` holds a word per column, laid out as `spec.mac.unpack` reads it. The
    mode comes with the operands, so two tiles in flight may differ in it. A stalled `sums` stops
    the whole array; without activations the array runs on and delivers what is under way.
    """

    def __init__(self, spec: ArraySpec):
        self.spec = spec
        super().__init__(
            {
                "weights": In(stream.Signature(weights_layout(spec))),
                "activations": In(stream.Signature(activations_layout(spec))),
                "sums": Out(stream.Signature(data.ArrayLayout(spec.mac.acc_width, spec.columns))),
            }
        )

    def elaborate(self, platform):
        m, core, advance = Module(), Module(), Signal()
        loaded, taken = Signal(), Signal()
        m.d.comb += [
            advance.eq(~self.sums.valid | self.sums.ready),
            self.weights.ready.eq(advance & ~loaded),
            self.activations.ready.eq(advance & (loaded | ~self.activations.p.first)),
            taken.eq(self.activations.valid & self.activations.ready),
        ]
        with core.If(~loaded & self.weights.valid):
            core.d.sync += loaded.eq(self.weights.p.last)
        with core.If(taken & self.activations.p.first):
            core.d.sync += loaded.eq(0)
        lanes = self._lanes(core, self.activations.p, "a")
        bottom = self._elements(core, self._rows(core, taken, lanes), self._columns(core, loaded))
        self._accumulate(core, bottom, taken, lanes)
        # Every register of the core stands still while the sums wait.
        m.submodules.core = EnableInserter(advance)(core)
        return m

    def _lanes(self, m: Module, payload: data.View, name: str) -> Signal:
        """One-hot number of lanes."""
        count = len(self.spec.mac.lane_counts)
        lanes = Signal(count, name=f"{name}_split", init=1)
        number = payload.lanes if self.spec.mac.subword else 0
        m.d.comb += lanes.eq(Cat(number == n for n in range(count)))
        return lanes

    def _gate(self, m: Module, name: str, word: Value, en: Value, signed: Value, bits, lanes):
        """The operand with what its mode does not use at zero: once, at the array's edge."""
        mac = self.spec.mac
        gate = OperandGate(len(word), mac.lane_counts, mac.scalable)
        m.submodules[name] = gate
        m.d.comb += [gate.data.eq(word), gate.en.eq(en), gate.signed.eq(signed)]
        if mac.scalable:
            m.d.comb += gate.bits.eq(bits)
        if mac.subword:
            m.d.comb += gate.lanes.eq(lanes)
        return gate.gated

    def _rows(self, m: Module, taken: Value, lanes: Value) -> list[data.View]:
        """What enters each row at the left, later by its index."""
        beat, rows = self.activations.p, []
        bits = beat.a_bits if self.spec.mac.scalable else None
        for r in range(self.spec.rows):
            entry = Signal(activation_layout(self.spec.mac), name=f"row{r}")
            word = self._gate(m, f"a_gate{r}", beat.words[r], taken, beat.a_signed, bits, lanes)
            m.d.comb += [
                entry.word.eq(word),
                entry.a_signed.eq(beat.a_signed),
                entry.swap.eq(taken & beat.first),
                entry.lanes.eq(lanes),
            ]
            rows.append(_delayed(m, entry, r))
        return rows

    def _columns(self, m: Module, loaded: Value) -> list[data.View]:
        """What enters each column at the top, later by its index."""
        beat, columns = self.weights.p, []
        bits = beat.w_bits if self.spec.mac.scalable else None
        lanes, taken = self._lanes(m, beat, "w"), self.weights.valid & ~loaded
        for c in range(self.spec.columns):
            entry = Signal(weight_layout(self.spec.mac), name=f"column{c}")
            word = self._gate(m, f"w_gate{c}", beat.words[c], taken, 1, bits, lanes)
            m.d.comb += [entry.word.eq(word), entry.valid.eq(taken)]
            columns.append(_delayed(m, entry, c))
        return columns

    def _elements(self, m: Module, rows: list, columns: list) -> Value:
        """The elements; returns the sums at the bottom, all columns in step again."""
        sums: list[Value] = [0] * self.spec.columns
        for r, row in enumerate(rows):
            for c in range(self.spec.columns):
                m.submodules[f"pe_{r}_{c}"] = pe = ProcessingElement(self.spec.mac)
                m.d.comb += [pe.a_in.eq(row), pe.w_in.eq(columns[c]), pe.sum_in.eq(sums[c])]
                row, columns[c], sums[c] = pe.a_out, pe.w_out, pe.sum_out
        return Cat(
            _delayed(m, s, self.spec.columns - 1 - c, reset_less=True) for c, s in enumerate(sums)
        )

    def _accumulate(self, m: Module, bottom: Value, taken: Value, lanes: Value) -> None:
        """Add the sums of tiles along K: beat n of a tile to word n of a memory."""
        spec, beat = self.spec, self.activations.p
        flags = Signal(
            data.StructLayout(
                {"valid": 1, "first": 1, "clear": 1, "emit": 1, "lanes": len(spec.mac.lane_counts)}
            )
        )
        m.d.comb += [flags.valid.eq(taken), flags.lanes.eq(lanes)]
        m.d.comb += [flags[name].eq(beat[name]) for name in ("first", "clear", "emit")]
        now = _delayed(m, flags, spec.latency - 1)
        kept, total = self._kept(m, now, len(bottom))
        width = spec.mac.acc_width
        for c in range(spec.columns):
            part = slice(c * width, (c + 1) * width)
            m.submodules[f"adder{c}"] = adder = LaneAdder(spec.mac)
            m.d.comb += [
                adder.x.eq(Mux(now.clear, 0, kept[part])),
                adder.y.eq(bottom[part]),
                adder.lanes.eq(now.lanes),
                total[part].eq(adder.z),
            ]
        m.d.sync += self.sums.valid.eq(now.valid & now.emit)
        with m.If(now.valid & now.emit):
            m.d.sync += self.sums.payload.eq(total)

    def _kept(self, m: Module, now: data.View, width: int) -> tuple[Value, Signal]:
        """The sum so far of the present beat, and where to put the new one."""
        total, depth = Signal(width), self.spec.depth
        m.submodules.memory = store = memory.Memory(shape=width, depth=depth, init=[])
        read, write = store.read_port(domain="comb"), store.write_port()
        counter = Signal(range(depth + 1))
        address = Signal.like(counter, name="address")
        m.d.comb += [
            address.eq(Mux(now.first, 0, counter)),
            read.addr.eq(address),
            write.addr.eq(address),
            write.data.eq(total),
            write.en.eq(now.valid & ~now.emit),
        ]
        with m.If(now.valid):
            m.d.sync += counter.eq(address + 1)
        return read.data, total


def _delayed(m: Module, value, edges: int, reset_less: bool = False):
    """`value` as it was `edges` clock edges ago."""
    for n in range(edges):
        later = Signal.like(value, name_suffix=f"_{n + 1}", reset_less=reset_less)
        m.d.sync += later.eq(value)
        value = later
    return value
