"""What a run found, in plain words; where it lost is said as plainly as where it won."""

from __future__ import annotations

from collections.abc import Iterator

from quanos.reporting.result_table import digits, energy_unit, epsilon_text, memory_unit
from quanos.reporting.verdict import reasons, too_weak
from quanos.results import Column, Run

MEASURED = (
    ("dvafs", "measured", "nominal"),
    ("dvafs", "measured", "scaled"),
    ("dg", "measured", "nominal"),
    ("dg", "measured", "scaled"),
)
CONVENTIONAL = ("fixed", "measured", "nominal")
MAC_NAMES = {"dg": "data-gated MAC", "dvafs": "subword-parallel (DVAFS) MAC"}


SUPPLIES = {
    "nominal": "On the {} one image costs",
    "scaled": "At the lowest supply that keeps the throughput it costs",
}


def headline(run: Run) -> str:
    """The one sentence on top."""
    column, saved = run.main, _energy_saved(run)
    words = [f"{column.title} {_against(run)} at {column.mean_bits:.2f} bits on average"]
    if saved is not None:
        more = f"{100 * abs(1 - saved):.0f} % {'less' if saved < 1 else 'more'}"
        words.append(f"for {more} energy than at 16 bits on the DVAFS MAC")
    return " ".join(words) + "."


def _against(run: Run) -> str:
    column = run.main
    reached = f"classifies {100 * column.clean_accuracy:.1f} % of {_images(run)} right"
    full = named(run, "16")
    if full is None:
        return reached
    points = 100 * (column.clean_accuracy - full.clean_accuracy)
    return f"{reached}, {_points(points)} the 16-bit network,"


def _images(run: Run) -> str:
    """What was classified; a data set of one's own has no name."""
    return "its test images" if run.dataset in ("folder", "tensors") else run.dataset


def _points(points: float) -> str:
    """
    >>> _points(-0.04), _points(1.26)
    ('as many as', '1.3 points more than')
    """
    if abs(points) < 0.05:
        return "as many as"
    return f"{abs(points):.1f} points {'more' if points > 0 else 'less'} than"


def named(run: Run, name: str) -> Column | None:
    """The column of that name, if it was trained."""
    return next((column for column in run.columns if column.name == name), None)


def _energy_saved(run: Run) -> float | None:
    price = run.main.prices.get(MEASURED[0])
    return price.ratio_to_16 if price else None


def paragraphs(run: Run) -> Iterator[str]:
    """Training and accuracy, energy, memory and robustness, a paragraph each."""
    yield _training(run)
    yield from _energy(run)
    yield _memory(run)
    yield from _robustness(run)
    yield _chance(run)


def _training(run: Run) -> str:
    column, widths = run.main, run.main.bits.values()
    shape = " x ".join(map(str, run.input_shape))
    return (
        f"{run.model} was trained on {run.dataset} (images of {shape}, {run.classes} classes) for "
        f"{column.epochs} epochs; after {column.sense_epoch} of them every layer's adversarial "
        f"noise sensitivity was measured{_again(column)}, and policy {column.policy} gave the "
        f"{len(column.bits)} layers {min(widths, default=0)} to {max(widths, default=0)} bits. "
        f"{_others(run)}"
    )


def _again(column: Column) -> str:
    more = [str(one.epoch) for one in column.rounds[1:]]
    return f", again after {', '.join(more)}" if more else ""


def _others(run: Run) -> str:
    texts = [f"{column.title}: {100 * column.clean_accuracy:.2f} %" for column in run.baselines]
    own = f"Clean accuracy is {100 * run.main.clean_accuracy:.2f} %"
    return f"{own}; {', '.join(texts)}." if texts else f"{own}."


def _energy(run: Run) -> Iterator[str]:
    """Measured MAC energy in the network's price, also against the conventional MAC at 16 bits."""
    scale, unit = energy_unit(run)
    full = named(run, "16")
    conventional = full.prices.get(CONVENTIONAL) if full else None
    for scheme in ("dvafs", "dg"):
        parts = []
        for supply, start in SUPPLIES.items():
            if price := run.main.prices.get((scheme, "measured", supply)):
                text = f"{start.format(MAC_NAMES[scheme])} {digits(scale * price.energy_mj, unit)} "
                text += f"{unit}, {100 * price.ratio_to_16:.1f} % of 16 bits on the same MAC"
                if conventional:
                    share = 100 * price.energy_mj / conventional.energy_mj
                    text += f" ({share:.1f} % of 16 bits on a conventional MAC, nominal supply)"
                parts.append(f"{text}.")
        if parts:
            yield " ".join(parts)


def _memory(run: Run) -> str:
    scale, unit = memory_unit(run)
    column = run.main
    return (
        f"The weights take {digits(scale * column.memory_gbit, unit)} {unit}, "
        f"{column.memory_compression:.2f} times less than at 16 bits."
    )


def _robustness(run: Run) -> Iterator[str]:
    """The hardest attack's result, only of columns whose gate lets it be read as such."""
    readable = [column for column in run.columns if not column.gate.masked and column.worst_case]
    if readable:
        texts = [_withstood(column) for column in readable]
        yield f"Images that withstand every attack of the strong protocol: {'; '.join(texts)}."
    for column in run.columns:
        if column.gate.masked:
            found = "too weak" if too_weak(column) else "blind"
            yield (
                f"{column.title}: the gate finds the attacks {found} ({reasons(column)}), so its "
                "accuracy under attack is no robustness."
            )


def _withstood(column: Column) -> str:
    first = min(column.worst_case, key=lambda row: row.epsilon)
    return f"{column.title} {100 * first.accuracy:.1f} % at epsilon {epsilon_text(first.epsilon)}"


def _chance(run: Run) -> str:
    images = run.main.attacked_images
    size = f"one of the {images} attacked images is {100 / images:.2f} points" if images else ""
    return (
        f"One run with seed {run.seed}{'; ' if size else ''}{size}: small differences are chance."
    )


def compared(run: Run) -> str:
    """What `losses` looks at, in words."""
    texts = ["clean accuracy", "measured energy", "memory"]
    if not any(column.gate.masked for column in run.columns):
        texts.insert(1, "accuracy under the worst attack")
    return f"{', '.join(texts[:-1])} or {texts[-1]}"


def losses(run: Run) -> Iterator[str]:
    """What the main column is behind each baseline in, a sentence for each that it is behind."""
    for other in run.baselines:
        if texts := [text for text, own, theirs in _comparable(run.main, other) if own < theirs]:
            yield f"{'; '.join(texts)} than {other.title}"


def _comparable(own: Column, other: Column) -> Iterator[tuple[str, float, float]]:
    """(what is worse, own, theirs) where more is better."""
    difference = f"{100 * (other.clean_accuracy - own.clean_accuracy):.2f}"
    yield f"{difference} points less clean accuracy", own.clean_accuracy, other.clean_accuracy
    if not own.gate.masked and not other.gate.masked:
        yield from _attacked(own, other)
    for key in (key for key in MEASURED if key in own.prices and key in other.prices):
        ratio = own.prices[key].energy_mj / other.prices[key].energy_mj
        text = f"{100 * (ratio - 1):.1f} % more energy on {key[0]} at {key[2]} supply"
        yield text, -ratio, -1.0
    ratio = own.memory_gbit / other.memory_gbit
    yield f"{100 * (ratio - 1):.1f} % more weight memory", -ratio, -1.0


def _attacked(own: Column, other: Column) -> Iterator[tuple[str, float, float]]:
    """The same under the worst attack, every epsilon at which something is lost in one text."""
    theirs = {row.epsilon: row.accuracy for row in other.worst_case}
    lost = [(row.epsilon, theirs.get(row.epsilon, 0.0) - row.accuracy) for row in own.worst_case]
    behind = [f"{100 * size:.2f} at {epsilon_text(epsilon)}" for epsilon, size in lost if size > 0]
    if behind:
        points = ", ".join(behind)
        yield f"less accuracy under the worst attack (in points, {points})", -1.0, 0.0
