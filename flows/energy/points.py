"""Which operating points a table has: schemes, pairs of bits, stimuli."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from flows.console import FlowError
from flows.simulator.code_files import OperandFile
from flows.stimulus import KINDS
from flows.table import MAX_BITS, SCHEMES
from hw.rtl.spec import MacSpec, Mode

SIGNED = "_signed"  # activations are signed: inputs that passed no ReLU
STIMULI = tuple(f"{kind}{end}" for kind in KINDS for end in ("", SIGNED))
UNEQUAL_STIMULUS = "uniform"  # of the default table's rows with w_bits != a_bits
Pair = tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Point:
    """One operating point of the table."""

    scheme: str
    w_bits: int
    a_bits: int
    stimulus: str
    a_signed: bool = False

    @property
    def spec(self) -> MacSpec:
        """The circuit that runs it."""
        if self.scheme == "fixed":
            return MacSpec(scheme="fixed", w_width=self.w_bits, a_width=self.a_bits)
        return MacSpec(scheme=self.scheme)

    @property
    def mode(self) -> Mode:
        """The circuit's mode."""
        return self.spec.mode(self.w_bits, self.a_bits, self.a_signed)

    @property
    def row(self) -> dict[str, str | int]:
        """What identifies the point's rows in the table."""
        names = ("scheme", "w_bits", "a_bits", "stimulus")
        return {name: getattr(self, name) for name in names}


def parse_bits(texts: Sequence[str]) -> list[Pair]:
    """`["8", "8x4"]` as pairs (w_bits, a_bits); FlowError for what is no precision."""
    pairs = []
    for text in texts:
        found = re.fullmatch(r"(\d+)(?:x(\d+))?", text)
        w, a = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
        if not (1 <= w <= MAX_BITS and 1 <= a <= MAX_BITS):
            raise FlowError(
                f"bits {text} is not known; K or WxA with numbers from 1 to {MAX_BITS} are."
            )
        pairs.append((w, a))
    return pairs


def points(
    schemes: Sequence[str],
    pairs: Sequence[Pair] | None,
    stimuli: Sequence[str],
    files: Mapping[str, OperandFile],
) -> list[Point]:
    """All of them, each once, in the table's order.

    `stimuli` are names of `STIMULI` or of `files`. Without `pairs` every width with itself, and
    with "uniform" every pair of different widths too, except for `fixed`, which would be 240 more
    circuits. A file that says its own bits has points at these alone. Raises FlowError for an
    unknown scheme or stimulus.
    """
    for what, given, allowed in (
        ("scheme", schemes, SCHEMES),
        ("stimulus", stimuli, (*STIMULI, *files)),
    ):
        for value in given:
            if value not in allowed:
                names = ", ".join(map(str, allowed))
                raise FlowError(f"{what} {value} is not known; {names} are.")
    order = [s for s in (*STIMULI, *files) if s in stimuli]
    chosen = [
        Point(scheme=scheme, w_bits=w, a_bits=a, stimulus=stimulus, a_signed=signed)
        for scheme in SCHEMES
        if scheme in schemes
        for stimulus in order
        for w, a, signed in _precisions(scheme, pairs, stimulus, files)
    ]
    return list(dict.fromkeys(chosen))


def _precisions(
    scheme: str, pairs: Sequence[Pair] | None, stimulus: str, files: Mapping[str, OperandFile]
) -> Iterator[tuple[int, int, bool]]:
    if file := files.get(stimulus):
        pairs = parse_bits([f"{file.bits[0]}x{file.bits[1]}"]) if file.bits else pairs
        if pairs is None:
            raise FlowError(
                f"stimulus {stimulus} does not say its bits; put w_bits and a_bits into the file "
                "or say --bits."
            )
        yield from ((w, a, file.a_signed) for w, a in pairs)
        return
    widths = range(1, MAX_BITS + 1)
    if pairs is None:
        pairs = [(k, k) for k in widths]
        if stimulus == UNEQUAL_STIMULUS and scheme != "fixed":
            pairs += [(w, a) for w in widths for a in widths if w != a]
    yield from ((w, a, stimulus.endswith(SIGNED)) for w, a in pairs)
