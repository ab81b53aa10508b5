"""The paper's figures on the page: ours drawn beside the results, or waiting with its command."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos.ablation import Ablation
from quanos.reproduce import drawings, tables
from quanos.reproduce.queue import best, origin, run_of, waiting
from quanos.run import write_text
from quanos.sensing.figures import ablation_figure


class Figures:
    """Writes figures beside the results; gives the Markdown that shows them on the page."""

    def __init__(self, results: Path, page: Path) -> None:
        self.results = results
        self.page = page

    def show(self, name: str, title: str, svg: str) -> str:
        """Write `name`.svg and show it."""
        self.results.mkdir(parents=True, exist_ok=True)
        write_text(self.results / f"{name}.svg", svg + "\n")
        where = os.path.relpath(self.results / f"{name}.svg", self.page)
        return f"![{title}]({Path(where).as_posix()})"


def paper_figures(results: Path, figures: Figures) -> Iterator[str]:
    """Figures 1, 3 and 4, each under its heading."""
    yield "## Figures"
    yield "### Figure 1(a): ANS per layer; Figure 3: VGG-19 on CIFAR-10"
    yield from _of_run(results, figures, "figure3", "vgg19-cifar10", ("16", "5", "quanos"))
    yield "### Figure 1(b): accuracy under attack as units of a layer are clamped"
    found = best(results, "vgg19-cifar10")
    if found is None:
        yield waiting("vgg19-cifar10")
    else:
        yield origin(results, "vgg19-cifar10", found[0])
        ablated = run_of(results, "vgg19-cifar10", found[0])["ablation"]
        yield ablation(figures, "figure1b", ablated)
    yield "### Figure 1(d): energy per MAC against precision"
    title = "Figure 1(d)"
    yield figures.show("figure1d", title, drawings.energy_per_mac(EnergyTable.load()))
    yield "### Figure 4: ResNet-18 on CIFAR-100"
    wanted = ("16", "8", "4", "quanos")
    yield from _of_run(results, figures, "figure4", "resnet18-cifar100", wanted)


def _of_run(
    results: Path, figures: Figures, name: str, experiment: str, wanted: tuple[str, ...]
) -> Iterator[str]:
    found = best(results, experiment)
    if found is None:
        yield waiting(experiment)
    else:
        yield origin(results, experiment, found[0])
        yield from network_figures(figures, name, found[1], wanted)


def ablation(figures: Figures, name: str, rows: list[dict[str, Any]]) -> str:
    """Figure 1(b) from the rows of an ablation."""
    drawing = ablation_figure([Ablation(**row) for row in rows])
    return figures.show(name, "Accuracy under attack with half of a layer's units clamped", drawing)


def network_figures(
    figures: Figures, name: str, summary: dict[str, Any], wanted: tuple[str, ...]
) -> Iterator[str]:
    """ANS per layer, and adversarial loss against epsilon for FGSM and PGD."""
    columns = {n: c for n, c in summary["columns"].items() if n in wanted}
    titles = drawings.titles(list(columns))
    lines = tables.sensitivities(summary)
    where = f"{summary['model']} on {summary['dataset']}"
    title = f"ANS per layer, {where}"
    yield figures.show(f"{name}-ans", title, drawings.sensitivity(title, lines))
    yield tables.sensitivity(summary)
    named = {titles[n]: column for n, column in columns.items()}
    for attack in ("fgsm", "pgd"):
        title = f"Adversarial loss, {attack.upper()}, {where}"
        yield figures.show(f"{name}-{attack}", title, drawings.losses(title, named, attack))
