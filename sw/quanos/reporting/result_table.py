"""The table of results of a run: rows of numbers with their units, for every output format."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from quanos.results import WORST_CASE, Attacked, Column, Price, Run

STANDARD = ("standard", "paper", "nominal")
ATTACKS = {
    "fgsm": "FGSM",
    "pgd": "PGD",
    "pgd_identity": "PGD past the clipping (BPDA)",
    "pgd_temperature": "PGD, logits over a temperature",
    "apgd_ce": "APGD, cross-entropy",
    "apgd_dlr": "APGD, difference of logits",
    "apgd_t": "APGD, targeted",
    "transfer_float": "made on the float twin",
    "transfer_2": "made on the 2-bit twin",
    "transfer_16": "made on the 16-bit network",
    "transfer_seed": "made on another seed's network",
    "square": "Square Attack (black box)",
    WORST_CASE: "worst case of all",
}
PARTS = "Parts of the strong protocol, accuracy at epsilon"
GROUPS = {
    "paper": "Accuracy under attack at epsilon, paper's protocol",
    "strong": "Accuracy under attack at epsilon, strong protocol",
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
    yield from _attacks(run, GROUPS["paper"], lambda column: column.paper)
    yield from _attacks(run, GROUPS["strong"], lambda column: column.worst_case)
    for reading in READINGS:
        yield from _energy(run, reading)
    yield from _attacks(run, PARTS, _parts)


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


def _attacks(run: Run, group: str, chosen: Callable[[Column], Iterable[Attacked]]) -> Iterator[Row]:
    """Accuracy of the same images by attack and epsilon, in the order of the first column."""
    found = [{(row.attack, row.epsilon): row for row in chosen(column)} for column in run.columns]
    for attack, epsilon in dict.fromkeys(key for column in found for key in column):
        rows = [column.get((attack, epsilon)) for column in found]
        yield Row(
            group=group,
            label=f"{ATTACKS.get(attack, attack)}, {epsilon_text(epsilon)}",
            unit="%",
            values=tuple(100 * row.accuracy if row else None for row in rows),
            attacked=True,
        )


def _parts(column: Column) -> list[Attacked]:
    rows = [row for row in column.strong if row.attack != WORST_CASE]
    return sorted(rows, key=lambda row: row.epsilon)


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
    """An epsilon, as a multiple of 1/255 where it is one and no short decimal.

    >>> epsilon_text(8 / 255), epsilon_text(0.2)
    ('8/255', '0.2')
    """
    steps = 255 * epsilon
    short = epsilon == round(epsilon, 3)
    return f"{epsilon:g}" if short or abs(steps - round(steps)) > 1e-6 else f"{round(steps)}/255"


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
