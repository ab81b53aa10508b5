"""The words of the report, for a reader who has not read the paper."""

from __future__ import annotations

from quanos.reporting.markup import Markup, element, join

WORDS = {
    "QUANOS": "The network whose layers got bits by their adversarial noise sensitivity; those "
    "beside it are baselines, trained alike.",
    "16 bit, 5 bit, ...": "A baseline with that many bits in every layer; rounded mean: as many as "
    "the QUANOS network has on average.",
    "clean accuracy": "Share of the test images, unchanged, that are classified right.",
    "epsilon": "How far an attack may change each pixel; pixels go from 0 to 1, and 8/255 is eight "
    "steps of an 8-bit image.",
    "FGSM, PGD": "Attacks that follow the network's gradient: in one step, and in many small ones.",
    "worst case": "An image counts only if no attack of the strong protocol fools the network on "
    "it: the number to judge robustness by.",
    "adversarial loss": "Clean accuracy minus accuracy under attack, in points.",
    "gate, passes, masked": "Whether the attacks could do their work. Masked: gradients are hidden "
    "or the attacks too weak, so that images left standing prove nothing; such numbers are struck "
    "out. Passes: no sign of that.",
    "ANS": "Adversarial noise sensitivity: how far a layer's output moves, relative to itself, "
    "when the image is attacked by FGSM. Bits are k0 - round(k0 ANS), and budgets change them.",
    "MAC": "Multiply-accumulate, the operation that the energy is counted for. Four circuits were "
    "measured: fixed (conventional, 16 bits wide), dg (data-gated: unused bits stand still), dvafs "
    "(splits into several narrow multipliers), dvafs_st (the same, products summed).",
    "nominal, scaled": "Supply voltage: as it is, or lowered as far as narrow operands allow at "
    "the same throughput.",
    "measured, Eq. 5 as printed": "Energy from the gate-level measurements, or by the paper's "
    "formula.",
    "front": "The networks that no other one beats in both accuracy and energy.",
}
"""Term: what it means here."""

ANCHOR = "words"


def glossary() -> Markup:
    """All of them, to unfold."""
    entries = [join(element("dt", term), element("dd", text)) for term, text in WORDS.items()]
    title = element("summary", "What the words mean")
    return element("details", title, element("dl", entries, class_="words", id=ANCHOR))


def link() -> Markup:
    """To them, from the head of the page; a browser unfolds what it goes to."""
    return element("a", "what the words mean", href=f"#{ANCHOR}")
