"""The golden model against Python's own products, and what it refuses."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.rtl.spec import ArraySpec, MacSpec

SPECS = [
    MacSpec(w_width=1, a_width=1),
    MacSpec(w_width=3, a_width=6, guard_bits=1),
    MacSpec(scheme="dg", w_width=5, a_width=7, guard_bits=2),
    MacSpec(scheme="dvafs", w_width=8, a_width=8, min_lane=2, guard_bits=2),
    MacSpec(scheme="dvafs"),
    MacSpec(scheme="dvafs_st", w_width=8, a_width=8, min_lane=2, guard_bits=3),
    MacSpec(scheme="dvafs_st", w_width=32, a_width=32),  # wider than int64
]


def one_code(draw, span, binary):
    return draw(st.sampled_from([-1, 1]) if binary else st.integers(*span))


@st.composite
def cases(draw):
    """A spec, one of its modes, a list of pairs of codes, and where sums start."""
    spec = draw(st.sampled_from(SPECS))
    bits = [(spec.w_width, spec.a_width)]
    if spec.scalable:
        bits = [(w, a) for w in range(1, spec.w_width + 1) for a in range(1, spec.a_width + 1)]
    mode = spec.mode(*draw(st.sampled_from(bits)), draw(st.booleans()))
    length = draw(st.integers(1, 12))
    w, a = (
        [[one_code(draw, span, binary) for _ in range(mode.lanes)] for _ in range(length)]
        for span, binary in (
            (mode.w_range(), mode.w_bits == 1),
            (mode.a_range(), mode.a_bits == 1 and mode.a_signed),
        )
    )
    clear = [True, *draw(st.lists(st.booleans(), min_size=length - 1, max_size=length - 1))]
    return spec, mode, w, a, clear


def wrapped(value: int, bits: int) -> int:
    value %= 1 << bits
    return value - (1 << bits) if value >> (bits - 1) else value


@settings(max_examples=300)
@given(cases())
def test_compute_is_pythons_own_sum_of_products(case):
    spec, mode, w, a, clear = case
    got = spec.compute(w, a, mode, clear).tolist()
    sums = [0] * spec.acc_lanes(mode)
    for t in range(len(w)):
        products = [x * y << spec.shift(mode) for x, y in zip(w[t], a[t], strict=True)]
        added = [sum(products)] if spec.scheme == "dvafs_st" else products
        sums = [p + (0 if clear[t] else s) for s, p in zip(sums, added, strict=True)]
        assert got[t] == [wrapped(s, spec.acc_bits(mode.lanes)) for s in sums]


def read_operand(word: int, width: int, lanes: int, lane: int, bits: int, signed: bool) -> int:
    """The code at the MSBs of a lane, read as decision 0001 says."""
    size = width // lanes
    field = (word >> (lane * size)) & ((1 << size) - 1)
    if bits == 1 and signed:
        return -1 if field >> (size - 1) else 1
    code = field >> (size - bits)
    return code - (1 << bits) if signed and code >> (bits - 1) else code


@settings(max_examples=200)
@given(cases())
def test_pack_places_codes_at_the_msbs(case):
    spec, mode, w, a, _ = case
    w_words, a_words = spec.pack(w, a, mode)
    mirrored = spec.scheme == "dvafs_st"
    for t in range(len(w)):
        for n in range(mode.lanes):
            at = mode.lanes - 1 - n if mirrored else n
            w_args = (int(w_words[t]), spec.w_width, mode.lanes, n, mode.w_bits, True)
            a_args = (int(a_words[t]), spec.a_width, mode.lanes, at, mode.a_bits, mode.a_signed)
            assert (read_operand(*w_args), read_operand(*a_args)) == (w[t][n], a[t][n])


def segments(spec, accumulators, mode) -> int:
    """The `acc` port that holds these accumulators, written bit field by bit field."""
    count = spec.max_lanes if spec.scheme == "dvafs" else 1
    base = sum(spec.lane_widths(count))
    per_lane, port = count // len(accumulators), 0
    for lane, value in enumerate(accumulators):
        value %= 1 << spec.acc_bits(mode.lanes)
        for n in range(per_lane):
            at = (lane * per_lane + n) * (base + spec.guard_bits)
            last = n == per_lane - 1
            field = value >> (n * base)
            port |= (field if last else field & ((1 << base) - 1)) << at
    return port


@settings(max_examples=200)
@given(cases())
def test_unpack_reads_what_the_port_holds(case):
    spec, mode, w, a, clear = case
    for row in spec.compute(w, a, mode, clear).tolist():
        assert spec.unpack([segments(spec, row, mode)], mode).tolist() == [row]


def test_one_bit_codes_are_plus_and_minus_one():
    spec = MacSpec(scheme="dg", w_width=4, a_width=4)
    mode = spec.mode(1, 1, True)
    w, a = spec.pack([[1], [-1]], [[-1], [1]], mode)
    assert (w.tolist(), a.tolist()) == ([0, 8], [8, 0])
    assert spec.compute([[1], [-1]], [[-1], [-1]], mode, [1, 1]).tolist() == [[-16], [16]]


def extremes(mode):
    """The pairs of codes whose products are the lowest and the highest."""
    pairs = [(w, a) for w in mode.w_range() for a in mode.a_range()]
    return min(pairs, key=lambda p: p[0] * p[1]), max(pairs, key=lambda p: p[0] * p[1])


@pytest.mark.parametrize("spec", SPECS, ids=lambda s: s.name)
def test_the_longest_sum_is_exact_and_no_sum_twice_as_long(spec):
    overflows = 0
    for mode in spec.modes():
        for w, a in extremes(mode):
            count = 2 * spec.longest_sum + 1
            pairs = [[[code] * mode.lanes] * count for code in (w, a)]
            got = spec.compute(*pairs, mode)[:, 0].tolist()
            each = w * a << spec.shift(mode)
            each *= mode.lanes if spec.scheme == "dvafs_st" else 1
            exact = [each * (n + 1) for n in range(count)]
            assert got[: spec.longest_sum] == exact[: spec.longest_sum], mode
            overflows += got != exact
    assert overflows or spec.w_width == 1  # one bit leaves room in its lane of two


@pytest.mark.parametrize("scheme", ["fixed", "dg", "dvafs", "dvafs_st"])
@pytest.mark.parametrize("k", [1, 4608, 2**16])
def test_an_arrays_accumulators_hold_its_longest_sum(scheme, k):
    """At 16 bits and below; lanes summed together add k products in k / lanes words."""
    array = ArraySpec(scheme=scheme, k_max=k)
    for mode in array.mac.modes():
        half = 1 << (array.mac.acc_bits(mode.lanes) - 1)
        for w, a in extremes(mode):
            assert -half <= k * (w * a << array.mac.shift(mode)) < half, mode
    assert array.mac.longest_sum >= k


BAD_SPECS = [
    ({"scheme": "booth"}, r"scheme must be one of fixed, dg, dvafs, dvafs_st, not 'booth'"),
    ({"w_width": 0}, r"w_width must be a whole number from 1 to 32, not 0"),
    ({"a_width": 33}, r"a_width .* not 33"),
    ({"w_width": 4.0}, r"w_width .* not 4\.0"),
    ({"w_width": True}, r"w_width .* not True"),
    ({"scheme": "dg", "w_width": 1}, r"w_width .* from 2"),
    ({"guard_bits": 0}, r"guard_bits .* from 1"),
    ({"encoding": "wallace"}, r"encoding must be one of baugh-wooley, booth, not 'wallace'"),
    ({"scheme": "dvafs", "encoding": "booth"}, r"reach over the ends of lanes"),
    ({"scheme": "dvafs", "min_lane": 1}, r"min_lane .* from 2"),
    ({"scheme": "dvafs", "w_width": 8, "a_width": 8, "min_lane": 16}, r"larger than the word"),
    ({"scheme": "dvafs", "min_lane": 3}, r"must be a power of two"),
    ({"scheme": "dvafs_st", "w_width": 8}, r"w_width and a_width to be equal"),
]


@pytest.mark.parametrize(("arguments", "sentence"), BAD_SPECS)
def test_bad_parameters_are_refused(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        MacSpec(**arguments)


def test_a_mode_the_circuit_lacks_is_refused():
    with pytest.raises(ValueError, match=r"runs at 16 x 16 bits only, not at 8 x 8"):
        MacSpec().mode(8, 8)
    with pytest.raises(ValueError, match=r"w_bits must be a whole number from 1 to 16, not 17"):
        MacSpec(scheme="dg").mode(17, 8)


@pytest.mark.parametrize(
    ("w", "a", "sentence"),
    [
        ([[2, 0]], [[0, 0]], r"weight code 2 is not one of the mode's codes, -2\.\.1"),
        ([[0, 0]], [[0, -1]], r"activation code -1 is not .* 0\.\.3"),
        ([[0]], [[0, 0]], r"weight codes need a last axis of 2 lanes"),
    ],
)
def test_codes_out_of_range_are_refused(w, a, sentence):
    spec = MacSpec(scheme="dvafs", w_width=4, a_width=4, min_lane=2)
    with pytest.raises(ValueError, match=sentence):
        spec.pack(w, a, spec.mode(2, 2))


def test_a_binary_weight_is_never_zero():
    spec = MacSpec(scheme="dg")
    with pytest.raises(ValueError, match=r"weight code 0 is not .* -1 and 1"):
        spec.pack([[0]], [[1]], spec.mode(1, 4))
