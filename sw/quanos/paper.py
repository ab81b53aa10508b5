"""The numbers that the QUANOS paper prints (Panda, ISLPED 2020), to hold ours against.

Nothing here is computed, and nothing in the product depends on it: the reproduction and the
report set these columns beside their own. Energies in mJ, memory in Gbit, accuracy in percent.
"""

from __future__ import annotations

from dataclasses import dataclass

PGD_EPSILONS_255 = (8, 16, 32)
"""Epsilons of the PGD curves, in 1/255 of the pixel range; 7 steps of 2/255."""


@dataclass(frozen=True)
class Column:
    """One column of Tables II/III or V/VI; `bits` is a width for all layers, or one per layer."""

    name: str
    bits: int | tuple[int, ...]
    accuracy_percent: float
    memory_gbit: float
    standard_mj: float
    dg_mj: float
    dvafs_mj: float


@dataclass(frozen=True)
class PaperTable:
    """An energy table of the paper: the network, its data set and the columns printed."""

    title: str
    model: str
    dataset: str
    classes: int
    columns: tuple[Column, ...]


TABLE_II_III = PaperTable(
    title="Tables II and III",
    model="vgg19",
    dataset="cifar10",
    classes=10,
    columns=(
        Column("16 bit", 16, 91.6, 0.32, 1.47, 1.47, 1.47),
        Column("8 bit", 8, 91.4, 0.16, 0.75, 0.62, 0.47),
        Column("5 bit", 5, 90.5, 0.10, 0.49, 0.36, 0.29),
        # 17 widths are printed for 16 convolutions, so this column cannot be replayed.
        Column(
            "QUANOS",
            (9, 4, 5, 3, 3, 3, 4, 2, 4, 6, 9, 8, 9, 7, 3, 2, 2),
            90.7,
            0.09,
            0.39,
            0.29,
            0.25,
        ),
    ),
)

TABLE_V_VI = PaperTable(
    title="Tables V and VI",
    model="resnet18",
    dataset="cifar100",
    classes=100,
    columns=(
        Column("16 bit", 16, 76.7, 0.18, 1.44, 1.44, 1.44),
        Column("8 bit", 8, 74.0, 0.09, 0.75, 0.45, 0.13),
        Column("4 bit", 4, 72.1, 0.05, 0.40, 0.165, 0.023),
        # The 17 3x3 convolutions; shortcuts take the bits of the layer that they feed.
        Column(
            "QUANOS",
            (9, 8, 7, 4, 5, 3, 4, 2, 3, 2, 3, 2, 2, 2, 2, 2, 2),
            72.8,
            0.024,
            0.32,
            0.17,
            0.095,
        ),
    ),
)

ENERGY_CONFIG = {"dg": {8: 0.62, 5: 0.46}, "dvafs": {8: 0.19, 5: 0.16}}
"""Fig. 1(d), read back out of Table III: the factor that Eq. 5 puts on the linear law."""

NET_MAC_ENERGY = {"dg": {8: 0.33, 5: 0.16}, "dvafs": {8: 0.10, 5: 0.056}}
"""Energy of one MAC relative to 16 bit, net of the double scaling of Eq. 5."""

ADVERSARIAL_EPSILONS_255 = (2, 8, 16)
"""Epsilons of Tables IV and VII, in 1/255 of the pixel range."""


@dataclass(frozen=True)
class HardenedRow:
    """A row of Table IV or VII: adversarial loss in points at epsilon 2, 8 and 16 /255."""

    trained_on: str
    column: str
    fgsm: tuple[float, float, float]
    pgd: tuple[float, float, float]


TABLE_IV = (
    HardenedRow("fgsm", "16", (10.6, 39.6, 54), (7.6, 49, 81)),
    HardenedRow("fgsm", "quanos", (9, 31, 43), (7, 44, 72)),
    HardenedRow("pgd", "16", (12.6, 41, 56), (11, 43, 67)),
    HardenedRow("pgd", "quanos", (8.5, 34.5, 52), (6.5, 37.5, 65.5)),
)
"""VGG-19 on CIFAR-10."""

TABLE_VII = (
    HardenedRow("fgsm", "4", (12.6, 43.6, 58.6), (9.6, 66, 90)),
    HardenedRow("fgsm", "quanos", (8.6, 37.6, 56.6), (5.6, 19, 34)),
    HardenedRow("pgd", "4", (13, 21.3, 25.8), (15.6, 26.6, 30.3)),
    HardenedRow("pgd", "quanos", (11.2, 16.3, 20), (9, 10.4, 14.9)),
)
"""ResNet-18 on CIFAR-100."""
