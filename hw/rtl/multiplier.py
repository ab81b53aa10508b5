"""Multipliers of signed weights by signed or unsigned activations, whole or split into lanes.

A lane multiplies an Lw-bit weight W (two's complement) by an La-bit activation A, signed where
s = 1. In Baugh-Wooley form the row of W's sign bit is inverted, the column of A's sign bit is
inverted where s = 1, and constants make up for it::

    W * A = sum of partial products + 2**(Lw-1) + s * 2**(La-1) - 2**(Lw+La-1)

The last constant is not added. Its lane's sum is then S = W * A + 2**(Lw+La-1), which lies in
[0, 2**(Lw+La)), and W * A mod 2**(Lw+La) is S with its top bit inverted. All bits that a carry-save
tree holds are non-negative and keep their sum, so no carry of a lane can ever leave the lane's
columns: lanes need no gates that cut carries, in the tree or in the final adder.
"""

from amaranth.hdl import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hw.rtl.reduction import Columns, add_rows, reduce_columns
from hw.rtl.spec import MacSpec


class Multiplier(wiring.Component):
    """Product of gated operands; combinational.

    `w` and `a` are words of lanes aligned to their MSBs (`spec.lane_widths`), `p` holds each lane's
    product in as many bits as both operands of the lane have. In sum-together form `p` is one
    number: the sum of the lanes' products, shifted left by ``(lanes - 1) * lane width``.
    """

    def __init__(self, spec: MacSpec):
        self.spec = spec
        self.w_width, self.a_width = spec.lane_widths()
        ports = {
            "w": In(self.w_width),
            "a": In(self.a_width),
            "a_signed": In(1),
            "lanes": In(len(spec.lane_counts)),
            "p": Out(self.w_width + self.a_width),
        }
        super().__init__(ports)

    def elaborate(self, platform):
        m = Module()
        rows = reduce_columns(m, self.partial_products())
        m.d.comb += self.p.eq(self.finish(add_rows(m, rows)))
        return m

    def split(self, lanes: int) -> Value | Const:
        """One where the word is split into `lanes` (`lanes` is one-hot, bit n for 2**n lanes)."""
        return self.lanes[lanes.bit_length() - 1] if len(self.lanes) > 1 else Const(1, 1)

    def partial_products(self) -> Columns:
        """Bits by column: the gated partial products and the constants of every split."""
        columns: Columns = [[] for _ in range(self.w_width + self.a_width)]
        for i in range(self.w_width):
            for j in range(self.a_width):
                if splits := [n for n in self.spec.lane_counts if self._paired(i, j, n)]:
                    columns[i + j].append(self._partial_product(i, j, splits))
        for column, bit in self._constants():
            columns[column].append(bit)
        return columns

    def _paired(self, i: int, j: int, lanes: int) -> bool:
        """Whether weight bit i meets activation bit j in the same lane.

        Apart, a lane's blocks lie on the diagonal of the array; together, on the anti-diagonal,
        where all lanes' products have the same columns.
        """
        w_lane, a_lane = i * lanes // self.w_width, j * lanes // self.a_width
        together = self.spec.scheme == "dvafs_st"
        return w_lane == (lanes - 1 - a_lane if together else a_lane)

    def _partial_product(self, i: int, j: int, splits: list[int]) -> Value:
        row = self._any(n for n in splits if (i + 1) % (self.w_width // n) == 0)
        column = self._any(n for n in splits if (j + 1) % (self.a_width // n) == 0)
        kept = self._any(splits)
        inverted = row ^ (column & self.a_signed)
        return (self.w[i] & kept & self.a[j]) ^ inverted

    def _any(self, splits) -> Value:
        splits = list(splits)
        if len(splits) == len(self.spec.lane_counts):
            return Const(1, 1)
        return Cat(self.split(n) for n in splits).any() if splits else Const(0, 1)

    def _constants(self):
        """(column, bit) of the constants: 2**(Lw-1) + s * 2**(La-1) in every lane."""
        for n in self.spec.lane_counts:
            w, a = self.w_width // n, self.a_width // n
            together = self.spec.scheme == "dvafs_st"
            # Together, n lanes add their constants in the same columns: once, n times as high.
            starts = (
                [(n - 1) * w + n.bit_length() - 1] if together else [x * (w + a) for x in range(n)]
            )
            for start in starts:
                if w == a:
                    yield start + w, self.split(n) & self.a_signed
                    yield start + w - 1, self.split(n) & ~self.a_signed
                else:
                    yield start + w - 1, self.split(n)
                    yield start + a - 1, self.split(n) & self.a_signed

    def finish(self, total: Value) -> Value:
        """The product: every lane's top bit inverted and, summed together, its sign extended."""
        width = self.w_width + self.a_width
        if self.spec.scheme == "dvafs_st" and self.spec.max_lanes > 1:
            return self._extended(total, width)
        tops = {}
        for n in self.spec.lane_counts:
            for lane in range(n):
                tops.setdefault((lane + 1) * width // n - 1, []).append(n)
        return Cat(total[k] ^ self._any(tops.get(k, ())) for k in range(width))

    def _extended(self, total: Value, width: int) -> Value:
        result = Const(0, width)
        for n in self.spec.lane_counts:
            lane = self.w_width // n
            top = min((n - 1) * lane + 2 * lane + n.bit_length() - 2, width - 1)
            sign = ~total[top]
            word = Cat(total[:top], *([sign] * (width - top)))
            result = result | Mux(self.split(n), word, 0)
        return result
