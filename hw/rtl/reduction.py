"""Carry-save reduction of columns of bits to two rows, by Dadda's rule, and the sum of the rows."""

from amaranth.hdl import Cat, Const, Module, Signal, Value

from hw.rtl.adder import incremented

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


def add_rows(m: Module, columns: Columns) -> Value:
    """The sum of columns of at most two bits each, modulo 2**len(columns).

    The carry-propagate adder spans the columns from the first that holds two bits to the last.
    """
    rows = Cat(column[0] if column else Const(0, 1) for column in columns)
    pairs = [n for n, column in enumerate(columns[:-1]) if len(column) > 1]
    low, high = (pairs[0], pairs[-1] + 1) if pairs else (len(columns) - 1,) * 2
    second = Cat(column[1] if len(column) > 1 else Const(0, 1) for column in columns[low:high])
    total = Signal(high - low + 1, name="total")
    m.d.comb += total.eq(rows[low:high] + second if pairs else 0)
    # Above, one row and the carry are left, but for a second bit in the last column.
    above = incremented(rows[high:], total[-1])
    last = columns[-1][1] if len(columns[-1]) > 1 else Const(0, 1)
    return Cat(rows[:low], total[:-1], above[:-1], above[-1] ^ last)


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
