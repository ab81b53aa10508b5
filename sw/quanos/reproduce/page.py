"""docs/reproduction.md: every table and figure of the paper, ours beside it or waiting.

Generated from the kept results, the energy table and the audit alone; nothing is run here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from quanos.paper import TABLE_II_III, TABLE_IV, TABLE_V_VI, TABLE_VII, HardenedRow, PaperTable
from quanos.reproduce import record, tables
from quanos.reproduce.audit import replay
from quanos.reproduce.findings import findings
from quanos.reproduce.goals import goals
from quanos.reproduce.paper_figures import Figures, ablation, network_figures, paper_figures
from quanos.reproduce.plans import Experiment, experiments
from quanos.reproduce.policies_page import write_policies
from quanos.reproduce.queue import FASHION, best, command, origin, queue, ran, waiting
from quanos.run import write_text


def write_page(path: Path, results: Path) -> None:
    """Write the page and, beside the results, its figures."""
    drawn = Figures(results, path.parent)
    plan = experiments()[FASHION]
    how = command("cpu", FASHION)
    write_policies(results / "fashion_mnist.md", results, FASHION, plan.title, how)
    text = "\n\n".join(part.strip("\n") for part in parts(results, drawn)) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_text(path, text)


def parts(results: Path, figures: Figures) -> Iterator[str]:
    """The sections of the page, in order."""
    plans = experiments()
    yield INTRODUCTION
    yield "## What has run\n\n" + ran(results, plans)
    yield "## What was asked, and what came out\n\n" + goals(results)
    yield from _energy_tables(results)
    for title, rows, name in HARDENED:
        yield _hardened(title, rows, name, results)
    yield from paper_figures(results, figures)
    yield from _small(results, figures, plans)
    yield from _beyond(results, plans)
    yield "## The paper's own numbers, replayed"
    yield REPLAYED
    yield replay(TABLE_II_III)
    yield replay(TABLE_V_VI)
    yield "What does not replay, and why:\n\n" + "\n".join(f"- {note}" for note in findings())
    yield "## The queue\n\n" + queue(results, plans)


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


def _energy_tables(results: Path) -> Iterator[str]:
    for table, name in ((TABLE_II_III, "vgg19-cifar10"), (TABLE_V_VI, "resnet18-cifar100")):
        yield _energy_table(table, name, results)


def _energy_table(table: PaperTable, name: str, results: Path) -> str:
    title = f"## {table.title}: {table.model} on {table.dataset}\n\n"
    found = best(results, name)
    if found is None:
        return title + waiting(name)
    both = "Both protocols, accuracy under attack:\n\n" + tables.networks(found[1])
    ours = origin(results, name, found[0])
    return f"{title}{ours}\n\n{tables.beside(table, found[1])}\n\n{both}"


def _hardened(title: str, rows: tuple[HardenedRow, ...], name: str, results: Path) -> str:
    kinds = ("fgsm", "pgd")
    found = {kind: best(results, f"{name}-{kind}") for kind in kinds}
    summaries = {kind: item[1] for kind, item in found.items() if item}
    text = f"## {title}\n\nAdversarial loss in points: clean accuracy less that under attack.\n\n"
    text += tables.hardened(rows, summaries)
    said = [
        origin(results, f"{name}-{kind}", item[0]) if item else waiting(f"{name}-{kind}")
        for kind, item in found.items()
    ]
    return "\n\n".join([text, *said])


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
            attacked = next(iter(summary["columns"].values()))["attacked_images"]
            yield (
                f"{origin(results, name, key)} {attacked} test images were attacked.\n\n"
                + tables.networks(summary)
            )
            yield tables.compared(summary)
            yield from network_figures(figures, f"cpu-{name}", summary, ("16", "mean", "quanos"))
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
            yield f"{origin(results, name, found[0])}\n\n{tables.networks(found[1])}"
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
