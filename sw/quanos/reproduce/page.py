"""docs/reproduction.md: every table and figure of the paper, ours beside it or waiting.

Generated from the kept results, the energy table and the audit alone; nothing is run here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from flows.table import EnergyTable
from quanos.ablation import Ablation
from quanos.paper import TABLE_II_III, TABLE_IV, TABLE_V_VI, TABLE_VII, HardenedRow, PaperTable
from quanos.reproduce import drawings, record, tables
from quanos.reproduce.audit import replay
from quanos.reproduce.findings import findings
from quanos.reproduce.plans import Experiment, experiments
from quanos.reproduce.policies_page import write_policies
from quanos.run import write_text
from quanos.sense_figures import ablation_figure

RECORDED = ("full", "fast")
"""Scales that fill the paper's own tables, the better one first."""


def write_page(path: Path, results: Path) -> None:
    """Write the page and, beside the results, its figures."""
    drawn = Figures(results, path.parent)
    plan = experiments()[FASHION]
    how = command("cpu", FASHION)
    write_policies(results / "fashion_mnist.md", results, FASHION, plan.title, how)
    text = "\n\n".join(part.strip("\n") for part in parts(results, drawn)) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


FASHION = "fashion-mnist-policies"


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


def parts(results: Path, figures: Figures) -> Iterator[str]:
    """The sections of the page, in order."""
    plans = experiments()
    yield INTRODUCTION
    yield "## What has run\n\n" + _ran(results, plans)
    yield from _energy_tables(results)
    for title, rows, name in HARDENED:
        yield _hardened(title, rows, name, results)
    yield from _figures(results, figures)
    yield from _small(results, figures, plans)
    yield from _beyond(results, plans)
    yield "## The paper's own numbers, replayed"
    yield REPLAYED
    yield replay(TABLE_II_III)
    yield replay(TABLE_V_VI)
    yield "What does not replay, and why:\n\n" + "\n".join(f"- {note}" for note in findings())
    yield "## The queue\n\n" + _queue(results, plans)


HARDENED = (
    ("Table IV: VGG-19 on CIFAR-10, adversarially trained", TABLE_IV, "vgg19-cifar10"),
    ("Table VII: ResNet-18 on CIFAR-100, adversarially trained", TABLE_VII, "resnet18-cifar100"),
)

REPLAYED = """Energy of one image by Table I and Eq. 4 (mJ) and memory of the weights (Gbit), both
from the layers' shapes; every convolution that runs is counted, shortcuts at the bits of the layer
that they feed, the classifier not."""

INTRODUCTION = """# The paper, reproduced

Made by `nox -s reproduce` from [results](results) and the audit of the printed numbers; nothing on
this page is written by hand. Accuracies in percent, energies of one image in mJ. Where our data
disagrees with the paper, ours is reported. `strong` is the worst case per image over a stronger
set of attacks than the paper's (see `quanos.robustness`); a network whose gate says `masked` is
not robust, whatever it withstands. Seconds are by the clock, on machines that did other work beside
it: upper bounds."""


def command(scale: str, name: str) -> str:
    """How an experiment is run."""
    data = "" if name == FASHION else "--data DIR "  # Debian's files are found by themselves
    return f"`nox -s reproduce -- --scale {scale} --only {name} {data}--resume`"


def best(results: Path, name: str) -> tuple[str, dict[str, Any]] | None:
    """The summary that fills the paper's tables: full scale before fast; with its `SCALE/SEED`."""
    for scale in RECORDED:
        for key, run in record.runs(results, name, scale).items():
            return key, run["summary"]
    return None


def waiting(name: str) -> str:
    """What stands where a run is missing."""
    return f"*Waiting*: {command('fast', name)}, or `--scale full`."


def _ran(results: Path, plans: dict[str, Experiment]) -> str:
    rows = [
        [
            f"`{name}`", key, str(run["device"]), f"{run['summary']['seconds']['train']:.0f}",
            f"{run['summary']['seconds']['evaluate']:.0f}", f"{str(run['commit'])[:10]}",
            str(run["finished"]), f"`{run['command']}`",
        ]
        for name in plans
        for key, run in record.runs(results, name).items()
    ]  # fmt: skip
    if not rows:
        return "Nothing yet; see [the queue](#the-queue)."
    head = ["experiment", "scale/seed", "device", "training s", "attacks s", "commit", "finished"]
    return tables.markdown([*head, "command"], rows)


def _energy_tables(results: Path) -> Iterator[str]:
    for table, name in ((TABLE_II_III, "vgg19-cifar10"), (TABLE_V_VI, "resnet18-cifar100")):
        yield _energy_table(table, name, results)


def _energy_table(table: PaperTable, name: str, results: Path) -> str:
    title = f"## {table.title}: {table.model} on {table.dataset}\n\n"
    found = best(results, name)
    if found is None:
        return title + waiting(name)
    return f"{title}Ours: {found[0]}.\n\n" + tables.beside(table, found[1])


def _hardened(title: str, rows: tuple[HardenedRow, ...], name: str, results: Path) -> str:
    kinds = ("fgsm", "pgd")
    found = {kind: best(results, f"{name}-{kind}") for kind in kinds}
    summaries = {kind: item[1] for kind, item in found.items() if item}
    text = f"## {title}\n\nAdversarial loss in points: clean accuracy less that under attack.\n\n"
    text += tables.hardened(rows, summaries)
    missing = [waiting(f"{name}-{kind}") for kind in kinds if kind not in summaries]
    return "\n\n".join([text, *missing])


def _figures(results: Path, figures: Figures) -> Iterator[str]:
    yield "## Figures"
    found = best(results, "vgg19-cifar10")
    yield "### Figure 1(a): ANS per layer; Figure 3: VGG-19 on CIFAR-10"
    if found is None:
        yield waiting("vgg19-cifar10")
    else:
        yield from _network_figures(figures, "figure3", found[1], ("16", "5", "quanos"))
    yield "### Figure 1(b): accuracy under attack as units of a layer are clamped"
    ablated = rows_of_ablation(results, "vgg19-cifar10")
    yield ablation(figures, "figure1b", ablated) if ablated else waiting("vgg19-cifar10")
    yield "### Figure 1(d): energy per MAC against precision"
    title = "Figure 1(d)"
    yield figures.show("figure1d", title, drawings.energy_per_mac(EnergyTable.load()))
    yield "### Figure 4: ResNet-18 on CIFAR-100"
    found = best(results, "resnet18-cifar100")
    if found is None:
        yield waiting("resnet18-cifar100")
    else:
        yield from _network_figures(figures, "figure4", found[1], ("16", "8", "4", "quanos"))


def rows_of_ablation(results: Path, name: str) -> list[dict[str, Any]]:
    """The ablation of the run that fills the paper's tables; empty where there is none."""
    found = best(results, name)
    return record.runs(results, name)[found[0]].get("ablation", []) if found else []


def ablation(figures: Figures, name: str, rows: list[dict[str, Any]]) -> str:
    """Figure 1(b) from the rows of an ablation."""
    drawing = ablation_figure([Ablation(**row) for row in rows])
    return figures.show(name, "Accuracy under attack with half of a layer's units clamped", drawing)


def _network_figures(
    figures: Figures, name: str, summary: dict[str, Any], wanted: tuple[str, ...]
) -> Iterator[str]:
    """ANS per layer, and adversarial loss against epsilon for FGSM and PGD."""
    columns = {n: c for n, c in summary["columns"].items() if n in wanted}
    titles = drawings.titles(list(columns))
    lines = {}
    if "16" in columns:
        base = columns["16"]
        lines[f"16 bit, epoch {base['sense_epoch']}"] = base["ans_sensed"]
        lines[f"16 bit, epoch {base['epochs']}"] = base["ans_final"]
    lines["QUANOS, at the end"] = columns["quanos"]["ans_final"]
    where = f"{summary['model']} on {summary['dataset']}"
    title = f"ANS per layer, {where}"
    yield figures.show(f"{name}-ans", title, drawings.sensitivity(title, lines))
    named = {titles[n]: column for n, column in columns.items()}
    for attack in ("fgsm", "pgd"):
        title = f"Adversarial loss, {attack.upper()}, {where}"
        yield figures.show(f"{name}-{attack}", title, drawings.losses(title, named, attack))


def _small(results: Path, figures: Figures, plans: dict[str, Experiment]) -> Iterator[str]:
    yield "## Scale cpu: small networks on two cores"
    yield "`nox -s reproduce -- --scale cpu --data DIR` regenerates this section."
    for name, plan in plans.items():
        if "cpu" not in plan.scales or plan.alone:
            continue
        yield f"### {plan.title}"
        found = record.runs(results, name, "cpu")
        if not found:
            yield f"*Waiting*: {command('cpu', name)}"
        for key, run in found.items():
            summary = run["summary"]
            yield (
                f"{key}, {run['device']}: training {summary['seconds']['train']:.0f} s, attacks "
                f"{summary['seconds']['evaluate']:.0f} s on "
                f"{next(iter(summary['columns'].values()))['attacked_images']} test images.\n\n"
                + tables.networks(summary)
            )
            yield tables.compared(summary)
            yield from _network_figures(figures, f"cpu-{name}", summary, ("16", "mean", "quanos"))
            if run.get("ablation"):
                yield ablation(figures, f"cpu-{name}-ablation", run["ablation"])


def _beyond(results: Path, plans: dict[str, Experiment]) -> Iterator[str]:
    yield "## Beyond the paper"
    for name in ("vgg19-cifar10-policies", "resnet18-cifar10-hardened"):
        yield f"### {plans[name].title}"
        found = best(results, name)
        if found is None:
            yield waiting(name)
        else:
            yield f"Ours: {found[0]}.\n\n" + tables.networks(found[1])
    yield f"### {plans[FASHION].title}\n\n[Three seeds, page of its own](results/fashion_mnist.md)"
    yield "### What of the paper's robustness survives the strong protocol"
    yield "\n".join(_survives(results)) or waiting("vgg19-cifar10")


def _survives(results: Path) -> Iterator[str]:
    """One sentence per network and epsilon where both protocols were run."""
    for name in ("vgg19-cifar10", "resnet18-cifar100", "vgg-small-cifar10", "resnet-small-cifar10"):
        found = best(results, name) or next(
            ((k, r["summary"]) for k, r in record.runs(results, name).items()), None
        )
        if found is None:
            continue
        columns = found[1]["columns"]
        for row in columns["quanos"]["strong"]:
            if row["attack"] == "worst_case" and "16" in columns:
                yield _gain(name, found[0], columns, row["epsilon"])


def _gain(name: str, key: str, columns: dict[str, Any], epsilon: float) -> str:
    def gain(protocol: str, attack: str) -> str:
        losses = [tables.attacked(columns[c], protocol, attack, epsilon) for c in ("16", "quanos")]
        if None in losses:
            return "not measured"
        return f"{100 * (losses[0] - losses[1]):+.1f} points"  # type: ignore[operator]

    return (
        f"- `{name}` ({key}) at {255 * epsilon:.3g}/255: the adversarial loss of QUANOS is smaller "
        f"than that of 16 bit by {gain('paper', 'pgd')} under the paper's PGD and by "
        f"{gain('strong', 'worst_case')} in the strong protocol."
    )


def _queue(results: Path, plans: dict[str, Experiment]) -> str:
    rows: list[list[str]] = []
    for scale in ("fast", "full", "cpu"):
        for name, plan in plans.items():
            if scale not in plan.scales:
                continue
            done = sorted(record.runs(results, name, scale))
            missing = [seed for seed in plan.seeds if f"{scale}/{seed}" not in done]
            state = "has run" if not missing else "waiting"
            rows.append([str(len(rows) + 1), state, ", ".join(plan.fills), command(scale, name)])
    text = "Largest value first; on one CUDA GPU of the H100 class for `fast` and `full`. DIR is "
    text += "the folder with the data sets' files; with `--time-limit SECONDS` each command works "
    text += "in slices, on any machine, and with `--jobs 4` four networks share the card.\n\n"
    return text + tables.markdown(["", "state", "fills", "command"], rows)
