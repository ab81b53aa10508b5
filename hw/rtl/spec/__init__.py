"""One object builds a circuit and computes its golden result: `MacSpec`, and `ArraySpec` of arrays.

A MAC takes a weight word and an activation word per cycle, multiplies lane by lane and accumulates.
`MacSpec` names the circuit, `Mode` the precision in which it runs; `compute` is the reference that
simulation and netlists are held against, in plain integers.

Number format (decision 0001): a lane of L bits holds a k-bit code at its most significant bits,
`operand = code << (L - k)`, the bits below at zero, so that a lane's product is the product of the
codes shifted left by `2L - w_bits - a_bits`. One-bit operands (+1, -1) run as the two-bit codes
01 and 11: the sign bit is given, and the mode forces the next bit to one.
"""

from hw.rtl.spec.array import ArraySpec, Tile
from hw.rtl.spec.mac import ENCODINGS, SCHEMES, MacSpec
from hw.rtl.spec.mode import Mode

__all__ = ["ENCODINGS", "SCHEMES", "ArraySpec", "MacSpec", "Mode", "Tile"]
