"""Policies at equal energy, over seeds: means, ranges, verdicts, and what the data says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import mean
from typing import Any

from scipy.stats import spearmanr

from quanos.reproduce import record, tables
from quanos.run import write_text

Column = dict[str, Any]
Value = Callable[[Column], float | None]
POINT = ("dvafs", "measured")


def write_policies(path: Path, results: Path, name: str, title: str, command: str) -> None:
    """Write the page of the experiment `name`; what waits is said with its command."""
    runs = {key: run["summary"] for key, run in record.runs(results, name).items()}
    text = "\n\n".join([f"# {title}", *(_parts(runs, command) if runs else [_waits(command)])])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text + "\n")


def _waits(command: str) -> str:
    return f"*Waiting*: {command}"


def _parts(runs: dict[str, dict[str, Any]], command: str) -> Iterator[str]:
    first = next(iter(runs.values()))
    yield (
        f"Made by {command} and generated from [results](.). {first['model']} on "
        f"{first['dataset']}, seeds {', '.join(str(s['seed']) for s in runs.values())}. All "
        "networks share the epochs at 16 bits; at the sensing epoch each policy gets the energy of "
        f"the QUANOS network ({POINT[0]}, measured reading) and spends it its own way. Means over "
        "seeds, with the range in brackets; accuracies in percent. `worst case` is the strong "
        "protocol's: per image the worst of all its attacks. What a network withstands in a run "
        "whose gate finds it masked is no robustness: it is in no mean, range or comparison, and "
        "the number of runs that are stands behind them."
    )
    by_name = {
        name: [summary["columns"][name] for summary in runs.values() if name in summary["columns"]]
        for name in first["columns"]
    }
    yield _table(by_name)
    yield "## What the data says"
    yield "\n".join(f"- {sentence}" for sentence in _says(by_name))
    yield "## Bits per layer and verdicts, run by run"
    rows = [
        [key, name, tables.bits(column), tables.gate(column)]
        for key, summary in runs.items()
        for name, column in summary["columns"].items()
    ]
    yield tables.markdown(["run", "network", "bits", "gate"], rows)


def _table(by_name: dict[str, list[Column]]) -> str:
    epsilons = _epsilons(by_name)
    head = ["network", "mean bits", "energy uJ", "clean"]
    head += [f"{kind} {255 * e:.3g}/255" for e in epsilons for kind in ("PGD-7", "worst case")]
    rows = []
    for name, columns in by_name.items():
        row = [name, _spread(columns, lambda c: c["mean_bits"]), _spread(columns, energy_uj)]
        row.append(_spread(columns, lambda c: 100 * c["clean_accuracy"]))
        for epsilon in epsilons:
            for protocol, attack in (("paper", "pgd"), ("strong", "worst_case")):
                row.append(_spread(columns, _under(protocol, attack, epsilon)))
        passed = sum(map(tables.passes, columns))
        rows.append([*row, f"{passed} of {len(columns)} pass"])
    return tables.markdown([*head, "gate"], rows)


def energy_uj(column: Column) -> float:
    """Energy of one image at the operating point that budgets are counted in."""
    for row in column["energy"]:
        if (row["scheme"], row["reading"], row["supply"]) == (*POINT, "nominal"):
            return float(1e3 * row["energy_mj"])
    return float("nan")


def _epsilons(by_name: dict[str, list[Column]]) -> list[float]:
    return sorted({row["epsilon"] for row in next(iter(by_name.values()))[0]["strong"]})


def _under(protocol: str, attack: str, epsilon: float) -> Value:
    """Accuracy under an attack, percent; None of a network that is masked."""

    def value(column: Column) -> float | None:
        found = tables.robust(column, protocol, attack, epsilon)
        return None if found is None else 100 * found

    return value


def _spread(columns: list[Column], value: Value) -> str:
    """Mean and range over the runs that have the value, and how many they are if not all."""
    values = [found for column in columns if (found := value(column)) is not None]
    if not values:
        return "masked"
    text = f"{mean(values):.2f}"
    text += "" if len(columns) == 1 else f" [{min(values):.2f}, {max(values):.2f}]"
    return text if len(values) == len(columns) else f"{text} of {len(values)}"


def _says(by_name: dict[str, list[Column]]) -> Iterator[str]:
    """Where QUANOS stands among the policies, by each figure, with the ranges that overlap."""
    yield _goal(by_name["quanos"])
    figures: list[tuple[str, Value]] = [("clean accuracy", lambda c: 100 * c["clean_accuracy"])]
    figures += [
        (f"{label} at {255 * e:.3g}/255", _under(protocol, attack, e))
        for e in _epsilons(by_name)
        for label, protocol, attack in (
            ("accuracy under PGD-7", "paper", "pgd"),
            ("accuracy in the worst case", "strong", "worst_case"),
        )
    ]
    for label, value in figures:
        yield _rank(by_name, label, value)
    yield from _first_layer(by_name)
    masked = [name for name, columns in by_name.items() if not all(map(tables.passes, columns))]
    if masked:
        yield (
            f"Not every run of {', '.join(masked)} passes the gate: what the others withstand is "
            "theirs alone, not the policy's."
        )


def _first_layer(by_name: dict[str, list[Column]]) -> Iterator[str]:
    """Whether robustness goes with the bits of the first layer, whose rounding meets the noise."""
    columns = [one for found in by_name.values() for one in found if tables.passes(one)]
    bits = [next(iter(column["bits"].values())) for column in columns]
    for epsilon in _epsilons(by_name):
        worst = [_under("strong", "worst_case", epsilon)(column) for column in columns]
        if len(set(bits)) == 1 or len(set(worst)) == 1:
            continue  # nothing to rank
        rank = float(spearmanr(bits, worst).statistic)
        yield (
            f"bits of the first layer and the worst case at {255 * epsilon:.3g}/255: rank "
            f"correlation {rank:+.2f} over the {len(columns)} networks that pass the gate."
        )


def _goal(columns: list[Column]) -> str:
    clean = min(100 * column["clean_accuracy"] for column in columns)
    bits = max(column["mean_bits"] for column in columns)
    met = "met" if clean >= 90 and bits < 5 else "missed"
    return (
        f"QUANOS, worst seed: {clean:.2f} % clean at no more than {bits:.2f} mean bits (wanted: at "
        f"least 90 % at under 5 bits; {met})."
    )


def _rank(by_name: dict[str, list[Column]], label: str, value: Value) -> str:
    """One sentence: which policies beat QUANOS in the mean, by how much, and where in every seed.

    Seed by seed, over those in which both have the value.
    """
    own = by_name["quanos"]
    gains = {
        name: [b - a for a, b in zip(map(value, own), map(value, columns), strict=True)
               if a is not None and b is not None]
        for name, columns in by_name.items()
        if name not in ("quanos", "16") and len(columns) == len(own)
    }  # fmt: skip
    better = {name: found for name, found in gains.items() if found and mean(found) > 0}
    if not any(gains.values()):
        return f"{label}: nothing to compare, for want of seeds in which QUANOS and another pass."
    if not better:
        return f"{label}: QUANOS has the best mean of the policies."
    parts = [
        f"{name} ({mean(found):+.2f}{_seeds(found, len(own))})"
        for name, found in sorted(better.items(), key=lambda item: -mean(item[1]))
    ]
    return f"{label}: QUANOS loses to {', '.join(parts)}."


def _seeds(gains: list[float], seeds: int) -> str:
    """Whether the gain is one in every seed, and of how many where not all can be compared."""
    every = all(gain > 0 for gain in gains)
    if len(gains) == seeds:
        return ", in every seed" if every else ""
    count = f"{len(gains)} seed{'s' if len(gains) > 1 else ''}"
    return f", {'in every one' if every else 'mean'} of {count} that both pass"
