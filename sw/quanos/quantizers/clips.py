"""How far a quantizer of few bits best reaches: rounding and clipping of a normal variable."""

from __future__ import annotations

import numpy as np


def find_optimal_clip(top: int) -> float:
    """Range, in standard deviations, that quantizes N(0, 1) to `step * (-top .. top)` best.

    Minimises the mean squared error of rounding and clipping together; by symmetry the same
    range is the best for a half-normal variable and codes 0 .. top.

    >>> round(find_optimal_clip(1), 2), round(find_optimal_clip(3), 2)
    (1.22, 1.95)
    """
    x = np.linspace(0.0, 8.0, 8001)
    density = np.exp(-0.5 * x**2)

    def error(step: float) -> float:
        rounded = np.minimum(np.round(x / step), top) * step
        return float(np.sum(density * (x - rounded) ** 2))

    low, high = 1.0 / top, 8.0 / top
    for _ in range(60):  # golden section; the error has one minimum
        left, right = low + 0.382 * (high - low), low + 0.618 * (high - low)
        low, high = (low, right) if error(left) < error(right) else (left, high)
    return top * 0.5 * (low + high)


# What `find_optimal_clip` gives for 1, 3, 7, ... 65535, as numbers, because torch.compile would
# trace into the search.
_CLIPS = (
    1.2243786208955354,
    1.9528350006283337,
    2.4744330992538295,
    2.898749304396812,
    3.270494769982753,
    3.606753107671306,
    3.9369771751140257,
    4.214999858670693,
    4.4936391360994286,
    4.759173902243504,
    5.007839359316719,
    5.257382811022063,
    5.493170633421688,
    5.7189504607785056,
    5.958084372829738,
    5.957727287209282,
)


def optimal_clip(top: int) -> float:
    """`find_optimal_clip` of a largest code 2**n - 1, n from 1 to 16.

    >>> round(optimal_clip(1), 2), round(optimal_clip(3), 2)
    (1.22, 1.95)
    """
    return _CLIPS[top.bit_length() - 1]
