"""Weight-stationary systolic array: activations run right, partial sums run down.

Row r gets its operands r edges after row 0 and column c gets them c edges after column 0, so that
whatever enters the array in one cycle, weights or activations, meets every processing element in
the same order. Tiles follow each other without a gap, and what is true at the edge of the array (a
tile's weights are all there, the next tile's have not begun) is true in each element in its time.
"""

from collections.abc import Callable

from amaranth.hdl import (
    Cat,
    Const,
    EnableInserter,
    Module,
    Mux,
    ShapeLike,
    Signal,
    Value,
)  # fmt: skip
from amaranth.lib import data, memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.adder import LaneAdder, equals, incremented
from hw.rtl.mac import OperandGate
from hw.rtl.pe import ProcessingElement, activation_layout, weight_layout
from hw.rtl.spec import ArraySpec, MacSpec


def weights_layout(spec: ArraySpec) -> data.StructLayout:
    """A beat of weights: one row of a tile, `last` with the tile's last row, the precision."""
    fields = {"words": data.ArrayLayout(spec.w_width, spec.columns), "last": 1}
    return data.StructLayout(fields | _controls(spec.mac, ("w_bits", "lanes")))


def activations_layout(spec: ArraySpec) -> data.StructLayout:
    """A beat of activations: a word for every row, the tile's flags, the mode.

    `first` is set in a tile's first beat. In all its beats, `clear` says that the tile starts sums
    and `emit` that it ends them.
    """
    words = data.ArrayLayout(spec.a_width, spec.rows)
    fields = {"words": words, "first": 1, "clear": 1, "emit": 1}
    return data.StructLayout(fields | _controls(spec.mac, ("a_signed", "a_bits", "lanes")))


def _controls(mac: MacSpec, names: tuple[str, ...]) -> dict[str, int]:
    """Widths of the controls of these names that the MAC has."""
    return {name: width for name, width in mac.control_widths.items() if name in names}


def sums_layout(spec: ArraySpec) -> data.ArrayLayout:
    """A beat of sums: a word for every column."""
    return data.ArrayLayout(spec.mac.acc_width, spec.columns)


class SkidBuffer(wiring.Component):
    """A register in front of a stream and a second one for the beat that is under way at a stall.

    `free` comes from a register: a word may be `put` in a cycle in which it is one, however long
    the stream stands still. Latency one clock edge.
    """

    def __init__(self, shape: ShapeLike):
        super().__init__(
            {
                "put": In(1),
                "word": In(shape),
                "free": Out(1, init=1),
                "stream": Out(stream.Signature(shape)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        word, taken, valid = Value.cast(self.word), Signal(name="taken"), Signal(name="valid")
        waiting = Signal.like(word, name="waiting", reset_less=True)
        payload = Signal.like(word, name="payload", reset_less=True)
        full = Signal()
        m.d.comb += [
            self.free.eq(~full),
            self.stream.valid.eq(valid),
            self.stream.payload.eq(payload),
            taken.eq(~valid | self.stream.ready),
        ]
        m.d.sync += [valid.eq(~taken | full | self.put), full.eq(~taken & (full | self.put))]
        with m.If(taken & (full | self.put)):
            m.d.sync += payload.eq(Mux(full, waiting, word))
        with m.If(~taken & self.put):
            m.d.sync += waiting.eq(word)
        return m


class SystolicArray(wiring.Component):
    """Matrix product of streams, tile by tile as `spec.tiles` orders them.

    Latency `spec.latency` clock edges from a beat of activations to its beat of sums, throughput
    one beat a cycle. `sums` holds a word per column, laid out as `spec.mac.unpack` reads it. The
    mode comes with the operands, so two tiles in flight may differ in it. A stalled `sums` stops
    the whole array a beat later, through registers; without activations the array runs on and
    delivers what is under way.

    `element` makes the processing elements: it is given the MAC and which outputs are read, and
    what it makes has `element_ports`, but for outputs that nobody reads.
    """

    def __init__(
        self,
        spec: ArraySpec,
        element: Callable[[MacSpec, set[str]], wiring.Component] | None = None,
    ):
        self.spec = spec
        self.element = element or (lambda mac, outputs: ProcessingElement(mac))
        super().__init__(
            {
                "weights": In(stream.Signature(weights_layout(spec))),
                "activations": In(stream.Signature(activations_layout(spec))),
                "sums": Out(stream.Signature(sums_layout(spec))),
            }
        )

    def elaborate(self, platform):
        m, core = Module(), Module()
        m.submodules.output = output = SkidBuffer(sums_layout(self.spec))
        wiring.connect(m, output.stream, wiring.flipped(self.sums))
        advance = output.free
        loaded, taken = Signal(name="loaded"), Signal(name="taken")
        m.d.comb += [
            self.weights.ready.eq(advance & ~loaded),
            self.activations.ready.eq(advance & (loaded | ~self.activations.p.first)),
            taken.eq(self.activations.valid & self.activations.ready),
        ]
        m.d.sync += loaded.eq(
            (loaded | (advance & self.weights.valid & self.weights.p.last))
            & ~(taken & self.activations.p.first)
        )
        lanes = self._lanes(core, self.activations.p, "a")
        rows, columns = self._rows(core, taken, lanes), self._columns(core, loaded)
        bottom = self._elements(m, core, rows, columns, advance)
        ended, total = self._accumulate(core, bottom, taken, lanes)
        m.d.comb += [output.put.eq(advance & ended), output.word.eq(total)]
        # Every register of the core stands still while the sums wait.
        m.submodules.core = EnableInserter(advance)(core)
        return m

    def _lanes(self, m: Module, payload: data.View, name: str) -> Signal:
        """One-hot number of lanes."""
        count = len(self.spec.mac.lane_counts)
        lanes = Signal(count, name=f"{name}_split", init=1)
        splits = [equals(payload.lanes, n) for n in range(count)] if count > 1 else [1]
        m.d.comb += lanes.eq(Cat(splits))
        return lanes

    def _gate(self, m: Module, name: str, word: Value, en: Value, signed: Value, bits, lanes):
        """The operand with what its mode does not use at zero: once, at the array's edge."""
        mac = self.spec.mac
        gate = OperandGate(len(word), mac.lane_counts, mac.scalable)
        m.submodules[name] = gate
        m.d.comb += [gate.data.eq(word), gate.en.eq(en), gate.signed.eq(signed)]
        m.d.comb += gate.lanes.eq(lanes)
        if mac.scalable:
            m.d.comb += gate.bits.eq(bits)
        return gate.gated

    def _rows(self, m: Module, taken: Value, lanes: Value) -> list[data.View]:
        """What enters each row at the left, later by its index."""
        beat, layout, rows = self.activations.p, activation_layout(self.spec.mac), []
        bits = beat.a_bits if self.spec.mac.scalable else None
        for r in range(self.spec.rows):
            word = self._gate(m, f"a_gate{r}", beat.words[r], taken, beat.a_signed, bits, lanes)
            rest = Cat(beat.a_signed, lanes, word)
            swap = taken & beat.first
            entry = Cat(_delayed(m, swap, r), _delayed(m, rest, r, reset_less=True))
            rows.append(_view(m, layout, entry, f"row{r}"))
        return rows

    def _columns(self, m: Module, loaded: Value) -> list[data.View]:
        """What enters each column at the top, later by its index."""
        beat, layout, columns = self.weights.p, weight_layout(self.spec.mac), []
        bits = beat.w_bits if self.spec.mac.scalable else None
        lanes, taken = self._lanes(m, beat, "w"), self.weights.valid & ~loaded
        for c in range(self.spec.columns):
            word = self._gate(m, f"w_gate{c}", beat.words[c], taken, Const(1, 1), bits, lanes)
            entry = Cat(_delayed(m, word, c, reset_less=True), _delayed(m, taken, c))
            columns.append(_view(m, layout, entry, f"column{c}"))
        return columns

    def _elements(self, m: Module, core: Module, rows: list, columns: list, en: Value) -> Value:
        """The elements; returns the sums at the bottom, all columns in step again."""
        sums: list[Value] = [Const(0, self.spec.mac.acc_width)] * self.spec.columns
        for r, row in enumerate(rows):
            for c in range(self.spec.columns):
                outputs = self._read(r, c)
                m.submodules[f"pe_{r}_{c}"] = pe = self.element(self.spec.mac, outputs)
                m.d.comb += [pe.en.eq(en), pe.a_in.eq(row), pe.w_in.eq(columns[c])]
                m.d.comb += pe.sum_in.eq(sums[c])
                row, columns[c], sums[c] = (
                    getattr(pe, name) if name in outputs else None
                    for name in ("a_out", "w_out", "sum_out")
                )
        last = self.spec.columns - 1
        return Cat(_delayed(core, s, last - c, reset_less=True) for c, s in enumerate(sums))

    def _read(self, r: int, c: int) -> set[str]:
        """Outputs of an element that lead somewhere: at the edge of the array not all do."""
        down = {"w_out"} if r + 1 < self.spec.rows else set()
        return {"sum_out"} | down | ({"a_out"} if c + 1 < self.spec.columns else set())

    def _accumulate(self, m: Module, bottom: Value, taken: Value, lanes: Value):
        """Add the sums of tiles along K: beat n of a tile to word n of a memory.

        Returns whether a beat of the result is there, and the beat.
        """
        spec, beat, edges = self.spec, self.activations.p, self.spec.latency - 2
        flags = Cat(beat.first, beat.clear, beat.emit, lanes)
        coming = _delayed(m, taken, edges)
        first, clear, *rest = _delayed(m, flags, edges, reset_less=True)
        valid, (emit, *splits) = _delayed(m, coming, 1), _delayed(m, Cat(rest), 1, reset_less=True)
        total, width = Signal(len(bottom), name="total"), spec.mac.acc_width
        kept = self._kept(m, coming, first, clear, valid & ~emit, total)
        for c in range(spec.columns):
            part = slice(c * width, (c + 1) * width)
            m.submodules[f"adder{c}"] = adder = LaneAdder(spec.mac, words=True)
            m.d.comb += [
                adder.x.eq(kept[part]),
                adder.y.eq(bottom[part]),
                adder.lanes.eq(Cat(splits)),
                total[part].eq(adder.z),
            ]
        return valid & emit, total

    def _kept(
        self, m: Module, coming: Value, first: Value, clear: Value, keep: Value, total: Signal
    ) -> Signal:
        """The sum so far of the present beat, whose new sum `total` the memory shall `keep`.

        It is read an edge ahead, while the beat is `coming`: a tile starts two edges or more after
        the tile before, so that the word has been written.
        """
        depth = self.spec.depth
        m.submodules.memory = store = memory.Memory(shape=len(total), depth=depth, init=[])
        read, write = store.read_port(domain="comb"), store.write_port()
        counter = Signal(range(max(depth, 2)), reset_less=True)
        address = Signal.like(counter, name="address")
        kept = Signal.like(total, name="kept_sum", reset_less=True)
        m.d.comb += [
            address.eq(counter & (~first).replicate(len(counter))),
            read.addr.eq(address),
            write.addr.eq(_delayed(m, address, 1, reset_less=True)),
            write.data.eq(total),
            write.en.eq(keep),
        ]
        m.d.sync += kept.eq(Mux(clear, 0, read.data))
        with m.If(coming):
            m.d.sync += counter.eq(incremented(address, Const(1, 1)))
        return kept


def _view(m: Module, layout: data.Layout, bits: Value, name: str) -> data.View:
    """The bits as a signal of that layout."""
    view = Signal(layout, name=name)
    m.d.comb += view.eq(bits)
    return view


def _delayed(m: Module, value: Value, edges: int, reset_less: bool = False) -> Value:
    """`value` as it was `edges` clock edges ago."""
    for _ in range(edges):
        later = Signal(len(value), name="later", reset_less=reset_less)
        m.d.sync += later.eq(value)
        value = later
    return value
