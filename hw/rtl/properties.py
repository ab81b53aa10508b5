"""What the array's streams must do under any stalls, as a circuit around the array, for a proof.

The circuit follows the beats that pass and says in every cycle what is wrong, as outputs `bad_*`;
whoever proves that they stay zero (flows.control) may do whatever the array's users may do: offer,
withdraw and take beats in any cycle. `assumed` is zero where the users break the order of tiles,
`reached` is one where the proof has seen something worth proving.
"""

from amaranth.back import verilog
from amaranth.hdl import Array, Cat, Const, Module, Mux, ResetSignal, Signal, Value, signed
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.spec import ArraySpec
from hw.rtl.systolic_array import SystolicArray, activations_layout, sums_layout, weights_layout

# A beat of sums is withdrawn or changed; one comes that nobody asked for; the followed one is
# wrong, late or out of order; sums stay away though they are taken; all streams stand still.
BAD = ("bad_rule", "bad_invented", "bad_value", "bad_late", "bad_stuck")
STUCK = 3  # cycles in which, with all sides willing, some beat must pass


class ArrayProperties(wiring.Component):
    """An array of one precision with a scoreboard of its beats.

    The scoreboard counts the beats of sums that the array owes. A beat that `follow` chooses is
    remembered with its sums, as the tile's weights and the sums before give them, and with the
    number of beats that are owed before it. When these have passed, the next one must be it: with
    `follow` free, none is lost, doubled, changed or out of order, and weights change with tiles.
    """

    def __init__(self, spec: ArraySpec):
        self.spec = spec
        super().__init__(
            {
                "weights": In(stream.Signature(weights_layout(spec))),
                "activations": In(stream.Signature(activations_layout(spec))),
                "sums": Out(stream.Signature(sums_layout(spec))),
                "follow": In(1),
                "assumed": Out(1),
                "reached": Out(1),
            }
            | {name: Out(1) for name in BAD}
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.array = array = SystolicArray(self.spec)
        for name in ("weights", "activations", "sums"):
            wiring.connect(m, getattr(array, name), wiring.flipped(getattr(self, name)))
        self.bad = {name: Signal(name=f"{name}_") for name in BAD}
        right = self._weights_in_order(m), self._activations_in_order(m), self._tags()
        total, known = self._sums(m, self._tile(m))
        self._scoreboard(m, total, known)
        self._rule(m)
        # Before the reset is over registers hold anything.
        running = ~ResetSignal()
        m.d.comb += [getattr(self, name).eq(self.bad[name] & running) for name in BAD]
        m.d.comb += self.assumed.eq(ResetSignal() | Cat(right).all())
        return m

    def _moves(self, name: str) -> Value:
        port = getattr(self, name)
        return port.valid & port.ready

    def _weights_in_order(self, m: Module) -> Value:
        """A tile has at most as many rows as the array."""
        rows = Signal(range(self.spec.rows + 1))
        with m.If(self._moves("weights")):
            m.d.sync += rows.eq(Mux(self.weights.p.last, 0, rows + 1))
        self.row = rows
        return ~self.weights.valid | self.weights.p.last | (rows + 1 < self.spec.rows)

    def _activations_in_order(self, m: Module) -> Value:
        """A tile starts with its first beat and is no longer than the array is deep."""
        beat = Signal(range(self.spec.depth + 1))
        self.index = Signal.like(beat, name="index")
        m.d.comb += self.index.eq(Mux(self.activations.p.first, 0, beat))
        started = Signal()
        with m.If(self._moves("activations")):
            m.d.sync += [beat.eq(self.index + 1), started.eq(1)]
        return ~self.activations.valid | (
            (self.activations.p.first | started) & (self.index < self.spec.depth)
        )

    def _tags(self) -> Value:
        """Codes are 0 and 1, unsigned: marks that beats are told apart by, not arithmetic."""
        words = [*self.weights.p.words, *self.activations.p.words]
        return ~Cat(Cat(word[1:] for word in words), self.activations.p.a_signed).any()

    def _tile(self, m: Module) -> list[list[Value]]:
        """The weights that the present beat of activations meets, by row and column."""
        shape = signed(self.spec.w_width)
        rows, columns = range(self.spec.rows), range(self.spec.columns)
        coming = [[Signal(shape, name=f"coming{r}_{c}") for c in columns] for r in rows]
        present = [[Signal(shape, name=f"present{r}_{c}") for c in columns] for r in rows]
        start = self._moves("activations") & self.activations.p.first
        for r in rows:
            for c in columns:
                with m.If(start):
                    m.d.sync += [present[r][c].eq(coming[r][c]), coming[r][c].eq(0)]
                with m.If(self._moves("weights") & (self.row == r)):
                    m.d.sync += coming[r][c].eq(self.weights.p.words[c])
        first = self.activations.p.first
        return [[Mux(first, coming[r][c], present[r][c]) for c in columns] for r in rows]

    def _sums(self, m: Module, weights: list[list[Value]]) -> tuple[Value, Value]:
        """The sums of the present beat, and whether they are known: those before are there."""
        spec, beat = self.spec, self.activations.p
        kept = Array(
            Signal(spec.columns * spec.mac.acc_width, name=f"kept{n}") for n in range(spec.depth)
        )
        there = Array(Signal(name=f"there{n}") for n in range(spec.depth))
        total, known = Signal.like(kept[0], name="total"), Signal()
        for c in range(spec.columns):
            part = slice(c * spec.mac.acc_width, (c + 1) * spec.mac.acc_width)
            product = Const(0)
            for r in range(spec.rows):
                word = beat.words[r]
                value = Mux(beat.a_signed, word.as_signed(), word)
                product = product + weights[r][c] * value
            before = Mux(beat.clear, 0, kept[self.index][part])
            m.d.comb += total[part].eq(before + product)
        m.d.comb += known.eq(beat.clear | there[self.index])
        with m.If(self._moves("activations") & ~beat.emit):
            m.d.sync += [kept[self.index].eq(total), there[self.index].eq(known)]
        return total, known

    def _scoreboard(self, m: Module, total: Value, known: Value) -> None:
        most = self.spec.latency + 4
        owed, ahead = Signal(range(most + 1)), Signal(range(most + 1))
        following, done, wanted = Signal(), Signal(), Signal.like(total, name="wanted")
        asked = self._moves("activations") & self.activations.p.emit
        given = self._moves("sums")
        follow = asked & self.follow & known & ~following & ~done
        m.d.sync += owed.eq(owed + asked - given)
        with m.If(follow):
            m.d.sync += [following.eq(1), wanted.eq(total), ahead.eq(owed - given)]
        with m.Elif(following & given):
            m.d.sync += [ahead.eq(ahead - 1), following.eq(ahead != 0), done.eq(ahead == 0)]
        m.d.comb += [
            self.bad["bad_invented"].eq((given & (owed == 0)) | (owed == most)),
            self.bad["bad_value"].eq(
                following & given & (ahead == 0) & (self.sums.payload.as_value() != wanted)
            ),
        ]
        self._progress(m, asked, given, owed)
        self._reach(m, follow, following & given & (ahead == 0))

    def _progress(self, m: Module, asked: Value, given: Value, owed: Value) -> None:
        """Nothing stays inside: what is owed comes while it is taken and nothing stops it."""
        late, still = Signal(range(self.spec.latency + 4)), Signal(range(STUCK + 1))
        waits = self.sums.ready & ~asked & ~given & (owed != 0)
        m.d.sync += late.eq(Mux(waits, late + (late != self.spec.latency + 3), 0))
        willing = self.weights.valid & self.activations.valid & self.sums.ready
        moved = given | self._moves("weights") | self._moves("activations")
        m.d.sync += still.eq(Mux(willing & ~moved, still + (still != STUCK), 0))
        m.d.comb += [
            self.bad["bad_late"].eq(late > self.spec.latency),
            self.bad["bad_stuck"].eq(still == STUCK),
        ]

    def _reach(self, m: Module, follow: Value, arrives: Value) -> None:
        """The followed beat is of a later tile than the first, waits, and arrives."""
        tiles, waited, later = Signal(2), Signal(2), Signal()
        start = self._moves("activations") & self.activations.p.first
        with m.If(start & (tiles != 3)):
            m.d.sync += tiles.eq(tiles + 1)
        with m.If(follow):
            m.d.sync += [later.eq(tiles + start > 1), waited.eq(0)]
        with m.Elif(self.sums.valid & ~self.sums.ready & (waited != 3)):
            m.d.sync += waited.eq(waited + 1)
        m.d.comb += self.reached.eq(
            ~ResetSignal() & arrives & later & (waited == 3) & (self.sums.payload.as_value() != 0)
        )

    def _rule(self, m: Module) -> None:
        """What is offered stays until it is taken."""
        waits, payload = Signal(), Signal.like(self.sums.payload.as_value(), name="offered")
        m.d.sync += [
            waits.eq(self.sums.valid & ~self.sums.ready),
            payload.eq(self.sums.payload.as_value()),
        ]
        changed = ~self.sums.valid | (self.sums.payload.as_value() != payload)
        m.d.comb += self.bad["bad_rule"].eq(waits & changed)


def emit_properties(spec: ArraySpec, name: str = "control") -> str:
    """The Verilog of the array and its properties; ValueError for one that they do not describe."""
    if spec.mac.scalable or any(spec.mac.shift(mode) for mode in spec.mac.modes()):
        raise ValueError(
            "the proof takes arrays of scheme fixed with operands of two bits or more; the "
            "other schemes have the same control."
        )
    return verilog.convert(ArrayProperties(spec), name=name, emit_src=False)
