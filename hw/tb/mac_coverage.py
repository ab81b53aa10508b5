"""What the bench of a MAC must have applied: corners, accumulations, all pairs where narrow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import MacSpec, Mode
from hw.tb.coverage import Cross, Summary
from hw.tb.sequences import (
    ACTIONS,
    CORNERS,
    RUN_LENGTH,
    Sequence,
    all_modes,
    code_sets,
    exhaustive,
)

LENGTHS = ("1", f"2..{RUN_LENGTH - 1}", f"{RUN_LENGTH}")  # pairs that are added


class MacCoverage:
    """Three crosses of a MAC: scheme and width are the design's, signedness is the mode's.

    - corners: mode and lane x corner of the weight x corner of the activation x what the cycle
      before did x what this one does; a held cycle counts where the corner stood at the ports;
    - accumulations: mode x number of pairs added;
    - pairs: mode and lane x weight code x activation code, where both have 8 bits or less.
    """

    def __init__(self, spec: MacSpec):
        modes = all_modes(spec)
        narrow = [mode for mode in modes if exhaustive(mode)]
        self.modes = {mode: n for n, mode in enumerate(modes)}
        self.rows, names = _rows(modes)
        self.narrow_rows, narrow_names = _rows(narrow)
        bits = max((max(m.w_bits, m.a_bits) for m in narrow), default=0)
        order = range(max(1 << bits, 3)) if narrow else ()  # one bit has the codes -1 and 1
        self.corners = Cross(
            "corners",
            {"mode": names, "w": CORNERS, "a": CORNERS, "after": ACTIONS, "action": ACTIONS},
        )
        self.lengths = Cross("accumulations", {"mode": list(map(mode_name, modes)), "of": LENGTHS})
        self.pairs = Cross(
            "pairs", {"mode": narrow_names, "w code from the least": order, "a code": order}
        )
        for mode in modes:
            self._exclude(mode)

    def _exclude(self, mode: Mode) -> None:
        rows = self.rows[mode]
        for point, codes in enumerate(code_sets(mode)):
            absent = [n for n, name in enumerate(CORNERS) if name not in codes.corners()]
            self.corners.exclude(rows, *[slice(None)] * point, absent)
        if mode in self.narrow_rows:
            rows = self.narrow_rows[mode]
            for point, codes in enumerate(code_sets(mode)):
                used = codes.all() - codes.low
                absent = np.setdiff1d(np.arange(self.pairs.hit.shape[1]), used)
                self.pairs.exclude(rows, *[slice(None)] * point, absent)

    def sample(self, sequence: Sequence) -> None:
        """Count a sequence that was applied."""
        mode = sequence.mode
        self._sample_corners(sequence)
        total, start = np.cumsum(sequence.en), np.flatnonzero(sequence.clear)
        before = total[start] - sequence.en[start]
        lengths = np.append(before[1:], total[-1]) - before
        short = np.where(lengths >= RUN_LENGTH, 2, 1)
        self.lengths.sample(self.modes[mode], np.where(lengths == 1, 0, short)[lengths > 0])
        if mode in self.narrow_rows:
            weights, activations = code_sets(mode)
            for lane, row in enumerate(range(*self.narrow_rows[mode].indices(1 << 31))):
                w, a = (codes[sequence.en, lane] for codes in (sequence.w, sequence.a))
                self.pairs.sample(row, w - weights.low, a - activations.low)

    def _sample_corners(self, sequence: Sequence) -> None:
        actions = sequence.actions()
        shown = (sequence.en | (not sequence.garbage))[1:]
        w_set, a_set = (codes.corners() for codes in code_sets(sequence.mode))
        for lane, row in enumerate(range(*self.rows[sequence.mode].indices(1 << 31))):
            w, a = sequence.w[1:, lane], sequence.a[1:, lane]
            at = np.flatnonzero(shown & _among(w, w_set) & _among(a, a_set))
            step = (actions[at], actions[at + 1])
            for i, j in ((i, j) for i in w_set for j in a_set):
                hit = (w[at] == w_set[i]) & (a[at] == a_set[j])
                self.corners.sample(
                    row, CORNERS.index(i), CORNERS.index(j), step[0][hit], step[1][hit]
                )

    def summaries(self) -> list[Summary]:
        """The crosses' results."""
        return [cross.summary() for cross in (self.corners, self.lengths, self.pairs)]


def _among(values: NDArray, named: dict[str, int]) -> NDArray[np.bool_]:
    return np.isin(values, list(set(named.values())))


def _rows(modes) -> tuple[dict[Mode, slice], list[str]]:
    """Rows of a cross, one for every lane of every mode, and their names."""
    rows, names = {}, []
    for mode in modes:
        rows[mode] = slice(len(names), len(names) + mode.lanes)
        names += [f"{mode_name(mode)}, lane {lane}" for lane in range(mode.lanes)]
    return rows, names


def mode_name(mode: Mode) -> str:
    """A mode in words."""
    return f"{mode.w_bits} x {mode.a_bits} bits{' signed' if mode.a_signed else ''}"
