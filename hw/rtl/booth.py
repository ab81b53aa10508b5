"""Radix-4 Booth multipliers: half as many rows of partial products, each recoded from three bits.

Digit i of a signed weight W is d = -2 w[2i+1] + w[2i] + w[2i-1], from -2 to 2, and W is the sum of
d * 4**i. The activation is taken as a signed number of one bit more, whose sign bit is zero where
it is unsigned. A row is d * A in La + 2 bits: A, 2 A or nothing, inverted where d is negative, and
one added at its lowest bit. The row's sign bit enters inverted, and what that adds to all rows is
taken off by constants, as is done for the bit that `Multiplier.finish` inverts.
"""

from amaranth.hdl import Const, Value

from hw.rtl.multiplier import Multiplier
from hw.rtl.reduction import Columns
from hw.rtl.spec import MacSpec


class BoothMultiplier(Multiplier):
    """`Multiplier` for whole words (`fixed` and `dg`), its weights recoded."""

    def partial_products(self) -> Columns:
        """Bits by column: a row for every digit and the constants of all rows."""
        width = self.w_width + self.a_width
        columns: Columns = [[] for _ in range(width)]
        constant = 1 << (width - 1)  # finish() inverts the top bit
        for low in range(0, self.w_width, 2):
            for column, bit in enumerate(self._row(low), start=low):
                if column < width:
                    columns[column].append(bit)
            columns[low].append(self._digit(low)[2])
            constant -= 1 << (low + self.a_width + 1)
        for column in range(width):
            if constant >> column & 1:
                columns[column].append(Const(1, 1))
        return columns

    def _digit(self, low: int) -> tuple[Value, Value, Value]:
        """Whether the digit at weight bit `low` is 1 or -1, is 2 or -2, and is negative."""
        last = self.w_width - 1
        below = self.w[low - 1] if low else Const(0, 1)
        here, above = self.w[low], self.w[min(low + 1, last)]
        one = here ^ below
        two = ~one & (above ^ here)
        return one, two, above & ~(here & below)

    def _row(self, low: int) -> list[Value]:
        """The digit times the activation, La + 2 bits, the highest inverted."""
        one, two, negative = self._digit(low)
        sign = self.a_signed & self.a[-1]
        bits = [*self.a, sign, sign]
        twice = [Const(0, 1), *bits]
        row = [((one & x) | (two & y)) ^ negative for x, y in zip(bits, twice, strict=False)]
        return [*row[:-1], ~row[-1]]


def create_multiplier(spec: MacSpec) -> Multiplier:
    """The multiplier of the spec's encoding."""
    return BoothMultiplier(spec) if spec.encoding == "booth" else Multiplier(spec)
