"""A network's layers for the eye: energies of their own codes beside uniform ones."""

from __future__ import annotations

from collections.abc import Iterable

Row = tuple[str, int, str, float, float]


def layer_text(rows: Iterable[Row], note: str) -> str:
    """A line a layer, a column a scheme: fJ per MAC of its own codes, and in brackets how many
    times uniform codes' that is. `rows` are layer, bits, scheme and the two energies in fJ."""
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for layer, bits, scheme, own, uniform in rows:
        cells.setdefault((layer, bits), {})[scheme] = f"{own:>10.0f} ({own / uniform:.2f})"
    schemes = dict.fromkeys(scheme for found in cells.values() for scheme in found)
    lines = [f"{'layer':24}{'bits':>5}" + "".join(f"{scheme:>18}" for scheme in schemes)]
    for (layer, bits), found in cells.items():
        columns = "".join(f"{found.get(scheme, ''):>18}" for scheme in schemes)
        lines.append(f"{layer:24}{bits:>5}{columns}")
    return "\n".join([*lines, note])
