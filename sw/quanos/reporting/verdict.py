"""The gate's verdict on a network, for a reader who has not read how it comes about."""

from __future__ import annotations

from quanos.results import Column

TOO_WEAK = "times the steps and restarts still take"
"""In the gate's words, what a longer attack found; the only reason that more steps cure."""

ABOVE_CHANCE = 0.1
"""Of the way from chance to all right: a network below it has learnt next to nothing."""

FEW_IMAGES = 150
"""Of fewer, three images are more than the 2 points that a longer attack may still find."""


def reasons(column: Column) -> str:
    """Why the gate does not let the column pass."""
    return column.gate.verdict.removeprefix("masked:").strip() or "no reason given"


def too_weak(column: Column) -> bool:
    """Whether all that the gate found is that the attacks end too early."""
    return column.gate.masked and all(TOO_WEAK in one for one in reasons(column).split("; "))


def by_chance(column: Column, classes: int) -> bool:
    """Whether the network is hardly better than guessing."""
    chance = 1 / max(classes, 1)
    return column.clean_accuracy < chance + ABOVE_CHANCE * (1 - chance)


def _few(column: Column) -> str:
    """That the gate's 2 points are less than a few images."""
    images = column.attacked_images
    return f", and more than {images} images" if 0 < images < FEW_IMAGES else ""


def verdict(column: Column, classes: int) -> str:
    """What the verdict means and what to do about it, to follow the network's name."""
    if by_chance(column, classes):
        return (
            f"is right on {100 * column.clean_accuracy:.1f} % of the clean images, where guessing "
            f"reaches {100 / max(classes, 1):.1f} %: it has hardly learnt, and what attacks leave "
            f"of that says nothing about robustness. Gate: {column.gate.verdict}."
        )
    if too_weak(column):
        return (
            f"is masked: {reasons(column)}. The attacks stopped before they had found all that "
            "there is to find, so accuracy under attack is lower than it looks; attack again with "
            "more steps and restarts (strong_steps, strong_restarts, or quanos attack --full)"
            f"{_few(column)}."
        )
    if column.gate.masked:
        return (
            f"is masked: {reasons(column)}. The attacks cannot see through this network, so its "
            "accuracy under attack is no robustness."
        )
    return (
        "passes: no sign of masked gradients, so the accuracies under attack can be read as they "
        "stand."
    )
