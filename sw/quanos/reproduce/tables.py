"""Markdown tables of the page: what the paper prints beside what was measured here."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from itertools import product
from typing import Any

from quanos.paper import ADVERSARIAL_EPSILONS_255, Column, HardenedRow, PaperTable
from quanos.results import PASSES

Summary = dict[str, Any]
NONE = "-"


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; text cells.

    >>> print(markdown(["a", "b"], [["1", "2"]]))
    | a | b |
    |---|---|
    | 1 | 2 |
    """
    lines = ["| " + " | ".join(line) + " |" for line in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def percent(value: float | None) -> str:
    """A share of 1 in percent."""
    return NONE if value is None else f"{100 * value:.2f}"


def clean(column: Summary) -> str:
    """Clean accuracy, percent."""
    return percent(column["clean_accuracy"])


def bits(column: Summary) -> str:
    """The bits of every layer, in forward order."""
    widths = list(column["bits"].values())
    if len(set(widths)) == 1:
        return f"{widths[0]} everywhere"
    return " ".join(map(str, widths)) + f" (mean {column['mean_bits']:.2f})"


def energy(column: Summary, scheme: str, reading: str, supply: str = "nominal") -> str:
    """Energy of one image, mJ."""
    row = _priced(column, scheme, reading, supply)
    return (
        NONE
        if row is None
        else (f"{row['energy_mj']:.4g} ({100 * row['ratio_to_16']:.0f} % of 16 bit)")
    )


def _priced(column: Summary, *wanted: str) -> Summary | None:
    """The energy by scheme, reading and supply; None where it was not priced."""
    rows = column["energy"]
    return next((r for r in rows if (r["scheme"], r["reading"], r["supply"]) == wanted), None)


def attacked(column: Summary, protocol: str, attack: str, epsilon: float) -> float | None:
    """Adversarial loss under one attack, a share of 1; None where it was not run."""
    for row in column[protocol]:
        if row["attack"] == attack and abs(row["epsilon"] - epsilon) < 1e-6:
            return float(row["adversarial_loss"])
    return None


def gate(column: Summary) -> str:
    """The gate's verdict; what a masked network withstands is no robustness."""
    return str(column["gate"]["verdict"])


def passes(column: Summary) -> bool:
    """Whether what the network withstands can be read as robustness."""
    return gate(column) == PASSES


def beside(table: PaperTable, summary: Summary) -> str:
    """An energy table of the paper with ours below each of its rows."""
    names = [_own_name(column) for column in table.columns]
    ours = [summary["columns"].get(name) for name in names]

    def row(label: str, value: Callable[[Summary], str]) -> list[str]:
        return [label, *(NONE if column is None else value(column) for column in ours)]

    def printed(label: str, value: Callable[[Column], float]) -> list[str]:
        return [label, *(f"{value(column):g}" for column in table.columns)]

    rows = [
        printed("accuracy %, paper", lambda c: c.accuracy_percent),
        row("accuracy %, ours", clean),
        ["bits, paper", *(_widths(column) for column in table.columns)],
        row("bits, ours", bits),
        printed("weights Gbit, paper", lambda c: c.memory_gbit),
        row("weights Gbit, ours", lambda c: f"{c['memory_gbit']:.4f}"),
        printed("standard mJ, paper", lambda c: c.standard_mj),
        row("standard mJ, ours", lambda c: energy(c, "standard", "paper")),
    ]
    for scheme, value in (("dg", lambda c: c.dg_mj), ("dvafs", lambda c: c.dvafs_mj)):
        rows.append(printed(f"{scheme} mJ, paper", value))
        for supply, reading in product(("nominal", "scaled"), ("paper", "measured")):
            rows.append(
                row(
                    f"{scheme} mJ, ours, reading `{reading}`, {supply} supply",
                    partial(energy, scheme=scheme, reading=reading, supply=supply),
                )
            )
    rows.append(row("gate", gate))
    return markdown(["", *(column.name for column in table.columns)], rows)


def sensitivities(summary: Summary) -> dict[str, dict[str, float]]:
    """ANS by layer of the 16-bit network, sensed and at the end, and of QUANOS at the end."""
    columns = summary["columns"]
    lines = {}
    if "16" in columns:
        base = columns["16"]
        lines[f"16 bit, epoch {base['sense_epoch']}"] = base["ans_sensed"]
        lines[f"16 bit, epoch {base['epochs']}"] = base["ans_final"]
    own = columns["quanos"]
    return lines | {f"QUANOS, epoch {own['epochs']}": own["ans_final"]}


def sensitivity(summary: Summary) -> str:
    """ANS of every layer as a table, beside the bits that QUANOS made of it."""
    lines, widths = sensitivities(summary), summary["columns"]["quanos"]["bits"]
    rows = (
        [f"`{name}`", str(bits), *(f"{values[name]:.3f}" for values in lines.values())]
        for name, bits in widths.items()
    )
    return markdown(["layer", "bits of QUANOS", *(f"ANS, {name}" for name in lines)], rows)


def _own_name(column: Column) -> str:
    return "quanos" if isinstance(column.bits, tuple) else str(column.bits)


def _widths(column: Column) -> str:
    widths = column.bits
    return f"{widths} everywhere" if isinstance(widths, int) else " ".join(map(str, widths))


def hardened(rows: Sequence[HardenedRow], found: dict[str, Summary]) -> str:
    """Table IV or VII; `found` holds the summaries of the runs trained on FGSM and on PGD."""
    lines = []
    for row in rows:
        column = found[row.trained_on]["columns"].get(row.column) if row.trained_on in found else {}
        label = [f"{row.trained_on.upper()}-trained", _title(row.column)]
        lines.append([*label, "paper", _triple(row.fgsm), _triple(row.pgd), NONE, NONE, NONE])
        lines.append([*label, "ours", *_hardened_cells(column)])
    head = ["training", "network", "", "FGSM 2, 8, 16 /255", "PGD", "strong worst case"]
    return markdown([*head, "clean %", "gate"], lines)


def _hardened_cells(column: Summary | None) -> list[str]:
    if not column:
        return ["waiting"] * 3 + [NONE] * 2
    kinds = (("paper", "fgsm"), ("paper", "pgd"), ("strong", "worst_case"))
    losses = [
        [attacked(column, protocol, attack, e / 255) for e in ADVERSARIAL_EPSILONS_255]
        for protocol, attack in kinds
    ]
    cells = [_marked(column, _shares(row)) for row in losses]
    return [*cells, clean(column), gate(column)]


def _marked(column: Summary, text: str) -> str:
    """What a network withstands, marked where that is no robustness."""
    return text if passes(column) or text == NONE else f"{text} (masked)"


def _shares(values: Sequence[float | None]) -> str:
    return " ".join(NONE if value is None else f"{100 * value:.1f}" for value in values)


def _triple(values: Sequence[float]) -> str:
    return " ".join(f"{value:g}" for value in values)


def _title(name: str) -> str:
    return f"{name} bit" if name.isdigit() else "QUANOS" if name == "quanos" else name


def networks(summary: Summary, scheme: str = "dvafs") -> str:
    """Every network of a run: bits, accuracy, energy, both protocols at each epsilon, gate."""
    columns = summary["columns"]
    epsilons = sorted({r["epsilon"] for r in next(iter(columns.values()))["strong"]})
    head = ["network", "bits", "clean %", f"energy mJ ({scheme}, measured)"]
    head += [f"{kind} at {255 * e:.3g}/255, %" for e in epsilons for kind in ("PGD", "worst case")]
    rows = []
    for name, column in columns.items():
        row = [_title(name), bits(column), clean(column), energy(column, scheme, "measured")]
        for epsilon in epsilons:
            for protocol, attack in (("paper", "pgd"), ("strong", "worst_case")):
                row.append(_marked(column, percent(accuracy(column, protocol, attack, epsilon))))
        rows.append([*row, gate(column)])
    return markdown([*head, "gate"], rows)


def accuracy(column: Summary, protocol: str, attack: str, epsilon: float) -> float | None:
    """Accuracy under one attack, a share of 1 of the images attacked; None where not run."""
    loss = attacked(column, protocol, attack, epsilon)
    return None if loss is None else column["attacked_clean_accuracy"] - loss


def robust(column: Summary, protocol: str, attack: str, epsilon: float) -> float | None:
    """The same of a network that passes the gate; None of one that is masked."""
    return accuracy(column, protocol, attack, epsilon) if passes(column) else None


def compared(summary: Summary, scheme: str = "dvafs") -> str:
    """What the numbers of a run say of QUANOS against each other network, and how sure they are."""
    columns = dict(summary["columns"])
    own = columns.pop("quanos")
    images = own["attacked_images"]
    chance = 100 * 1.96 * (2 * 0.25 / images) ** 0.5
    sure = (
        f"Of {images} images, two accuracies near 50 % differ by chance by up to {chance:.0f} "
        "points (95 %, other images each; less near 0 and 100 %)."
    )
    return "\n".join([*(_against(name, own, columns[name], scheme) for name in columns), "", sure])


def _against(name: str, own: Summary, other: Summary, scheme: str) -> str:
    rows = [_priced(column, scheme, "measured", "nominal") for column in (own, other)]
    ours, theirs = (float(row["energy_mj"]) if row else math.nan for row in rows)
    clean_gain = 100 * (own["clean_accuracy"] - other["clean_accuracy"])
    return (
        f"- Against {_title(name)}: {100 * ours / theirs:.0f} % of its energy, clean accuracy "
        f"{clean_gain:+.2f} points, worst case {_worst_gains(name, own, other)}."
    )


def _worst_gains(name: str, own: Summary, other: Summary) -> str:
    """By how many points QUANOS withstands more; nothing where either is masked."""
    masked = [title for title, c in (("QUANOS", own), (_title(name), other)) if not passes(c)]
    if masked:
        return f"not compared: {' and '.join(masked)} {'is' if len(masked) == 1 else 'are'} masked"
    gains = [
        f"{100 * (row['accuracy'] - left):+.1f} at {255 * row['epsilon']:.3g}/255"
        for row in own["strong"]
        if row["attack"] == "worst_case"
        and (left := accuracy(other, "strong", "worst_case", row["epsilon"])) is not None
    ]
    return ", ".join(gains) or "not measured"
