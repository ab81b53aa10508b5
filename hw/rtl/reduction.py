"""Carry-save reduction of columns of bits to two rows, by Dadda's rule."""

from amaranth.hdl import Module, Signal, Value

Columns = list[list[Value]]


def dadda_heights(tallest: int) -> list[int]:
    """Targets below `tallest`, largest first: ... 9, 6, 4, 3, 2."""
    heights = [2]
    while heights[-1] * 3 // 2 < tallest:
        heights.append(heights[-1] * 3 // 2)
    return [h for h in reversed(heights) if h < tallest]


def reduce_columns(m: Module, columns: Columns) -> Columns:
    """Add the bits of `columns` (weight 2**index) with full and half adders until two rows remain.

    Depth is Dadda's number of stages; a carry out of the last column is dropped (modulo 2**n).
    """
    for target in dadda_heights(max(map(len, columns))):
        carries: list[Value] = []
        for index, column in enumerate(columns):
            bits = column + carries
            carries = []
            while len(bits) > target:
                taken = 3 if len(bits) > target + 1 else 2
                total, carry = _adder(m, bits[:taken])
                bits = [*bits[taken:], total]
                carries.append(carry)
            columns[index] = bits
    return columns


def _adder(m: Module, bits: list[Value]) -> tuple[Value, Value]:
    """Sum and carry of two or three bits of one column."""
    total, carry = Signal(name="sum"), Signal(name="carry")
    a, b, *c = bits
    if c:
        half = Signal(name="half")
        m.d.comb += [half.eq(a ^ b), total.eq(half ^ c[0]), carry.eq((a & b) | (half & c[0]))]
    else:
        m.d.comb += [total.eq(a ^ b), carry.eq(a & b)]
    return total, carry
