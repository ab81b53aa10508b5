"""The table of results of a run: rows of numbers with their units, for every output format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from quanos.results import WORST_CASE, Attacked, Column, Price, Run

STANDARD = ("standard", "paper", "nominal")
ATTACKS = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "pgd_identity": "PGD past the clipping",
    "transfer_float": "made on the float twin",
    "transfer_16": "made on the 16-bit network",
    WORST_CASE: "worst case of all",
}
READINGS = {
    "measured": "Energy of one image, measured MAC energy",
    "paper": "Energy of one image, Eq. 5 as printed",
}


@dataclass(frozen=True, kw_only=True)
class Row:
    """One quantity, a value per column (None: not there).

    `ratios` are values over those of the same network at 16 bits. `attacked` rows say nothing
    about robustness in a column whose gate finds masking.
    """

    group: str
    label: str
    unit: str
    values: tuple[float | None, ...]
    ratios: tuple[float | None, ...] = ()
    attacked: bool = False


def result_rows(run: Run) -> Iterator[Row]:
    """All rows of a run, grouped."""
    yield from _network(run)
    for protocol in ("paper", "strong"):
        yield from _attacks(run, protocol)
    for reading in READINGS:
        yield from _energy(run, reading)


def _row(run: Run, group: str, label: str, unit: str, value: Callable[[Column], float]) -> Row:
    values = tuple(value(column) for column in run.columns)
    return Row(group=group, label=label, unit=unit, values=values)


def _network(run: Run) -> Iterator[Row]:
    scale, unit = memory_unit(run)
    group = "Network"
    yield _row(run, group, "mean bits of the layers", "bit", lambda c: c.mean_bits)
    yield _row(run, group, "clean accuracy", "%", lambda c: 100 * c.clean_accuracy)
    yield _row(run, group, "memory of the weights", unit, lambda c: scale * c.memory_gbit)
    yield _row(run, group, "memory, 16 bit over this", "times", lambda c: c.memory_compression)


def _attacks(run: Run, protocol: str) -> Iterator[Row]:
    """Accuracy of the same images by attack and epsilon, in the order of the first column."""
    group = f"Accuracy under attack, {protocol} protocol"
    found = [{(r.attack, r.epsilon): r for r in protocol_rows(c, protocol)} for c in run.columns]
    for attack, epsilon in dict.fromkeys(key for column in found for key in column):
        rows = [column.get((attack, epsilon)) for column in found]
        yield Row(
            group=group,
            label=f"{ATTACKS.get(attack, attack)}, epsilon {epsilon_text(epsilon)}",
            unit="%",
            values=tuple(100 * row.accuracy if row else None for row in rows),
            attacked=True,
        )


def protocol_rows(column: Column, protocol: str) -> tuple[Attacked, ...]:
    """The column's results by the protocol `paper` or `strong`."""
    return column.paper if protocol == "paper" else column.strong


def _energy(run: Run, reading: str) -> Iterator[Row]:
    scale, unit = energy_unit(run)
    keys = dict.fromkeys(key for column in run.columns for key in column.prices)
    for key in (key for key in keys if key[1] == reading):
        prices: list[Price | None] = [column.prices.get(key) for column in run.columns]
        yield Row(
            group=READINGS[reading],
            label=point_text(key),
            unit=unit,
            values=tuple(scale * price.energy_mj if price else None for price in prices),
            ratios=tuple(price.ratio_to_16 if price else None for price in prices),
        )


def point_text(key: tuple[str, str, str]) -> str:
    """An operating point in words."""
    return "linear law of Table I" if key == STANDARD else f"{key[0]}, {key[2]} supply"


def epsilon_text(epsilon: float) -> str:
    """An epsilon, as a multiple of 1/255 where it is one.

    >>> epsilon_text(8 / 255), epsilon_text(0.05)
    ('8/255', '0.05')
    """
    steps = 255 * epsilon
    whole = abs(steps - round(steps)) < 1e-6
    return f"{round(steps)}/255" if whole and steps >= 1 else f"{epsilon:g}"


def energy_unit(run: Run) -> tuple[float, str]:
    """Factor from mJ and the unit in which the run's energies read well."""
    high = max((p.energy_mj for c in run.columns for p in c.prices.values()), default=1.0)
    return (1e3, "µJ") if high < 0.1 else (1.0, "mJ")


def memory_unit(run: Run) -> tuple[float, str]:
    """Factor from Gbit and the unit in which the run's memory reads well."""
    return (1e3, "Mbit") if max(c.memory_gbit for c in run.columns) < 0.1 else (1.0, "Gbit")


def digits(value: float, unit: str) -> str:
    """A number as its unit is usually written: two decimals for %, else four digits.

    >>> digits(97.111, "%"), digits(0.00345678, "mJ"), digits(12.3456, "µJ")
    ('97.11', '0.003457', '12.35')
    """
    if unit == "%":
        return f"{value:.2f}"
    if unit in ("bit", "times"):
        return f"{value:.2f}"
    if value == 0 or not 1e-9 < abs(value) < 1e12:
        return f"{value:g}"
    return f"{value:.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
