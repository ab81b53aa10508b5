"""Where the iterative form of Algorithm 1 stops: at a round that costs more than it saves.

A round is judged after its `round_epochs` of training, by what was measured: the energy of one
image at its bits, by the table, and the accuracy on held-out training images. It is kept unless

    accuracy is more than `stop_points` below the best one so far, at k0 bits or after a round, or
    energy fell, per point of accuracy lost to the round before, by less than `stop_saving` percent.

The first round that is not kept is the last: its bits go back to what they were before it, weights
and optimizer stay, and training goes on to its end. What was measured stays in the rounds: `before`
in the first, at k0 bits, `after` in every one, each {energy_mj, accuracy}, and `stopped`, the
reason, in one that was not kept. Checkpoints hold the rounds, so that a resumed run stops alike.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from quanos.config import Config

Round = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a network costs and does: mJ of one image, share of held-out images classified right."""

    energy_mj: float
    accuracy: float


def begin(rounds: Sequence[Round], standing: Standing) -> None:
    """Note in the first round what the network at k0 bits costs and does."""
    rounds[0]["before"] = asdict(standing)


def due(config: Config, rounds: Sequence[Round], epoch: int) -> bool:
    """Whether the last round has been trained for `round_epochs` and is to be judged."""
    if not config.stops or not rounds or "after" in rounds[-1]:
        return False
    return epoch == int(rounds[-1]["epoch"]) + config.round_epochs


def over(rounds: Sequence[Round]) -> bool:
    """Whether a round was not kept, so that there are no more."""
    return bool(rounds) and "stopped" in rounds[-1]


def judge(config: Config, rounds: Sequence[Round], standing: Standing) -> str | None:
    """Note where the last round stands now; why it is not kept, or None where it is."""
    earlier = [Standing(**rounds[0]["before"])]
    earlier += [Standing(**one["after"]) for one in rounds[:-1]]
    rounds[-1]["after"] = asdict(standing)
    reason = _too_low(config, earlier, standing) or _too_dear(config, earlier[-1], standing)
    if reason:
        rounds[-1]["stopped"] = reason
    return reason


def bits_before(config: Config, rounds: Sequence[Round]) -> Mapping[str, int]:
    """The bits that the last round started from."""
    if len(rounds) > 1:
        bits: Mapping[str, int] = rounds[-2]["bits"]
        return bits
    return dict.fromkeys(rounds[-1]["bits"], config.first_bits)


def _too_low(config: Config, earlier: Sequence[Standing], now: Standing) -> str | None:
    best = max(one.accuracy for one in earlier)
    fall = 100 * (best - now.accuracy)
    if not config.stop_points or fall <= config.stop_points + 1e-9:
        return None
    return (
        f"held-out accuracy {100 * now.accuracy:.2f} % is {fall:.2f} points below the best so far, "
        f"and {config.stop_points:g} are allowed"
    )


def _too_dear(config: Config, before: Standing, now: Standing) -> str | None:
    lost = 100 * (before.accuracy - now.accuracy)
    if not config.stop_saving or lost <= 0:
        return None
    saved = 100 * (1 - now.energy_mj / before.energy_mj)
    if saved >= config.stop_saving * lost:
        return None
    return (
        f"{saved:.2f} % of energy saved for {lost:.2f} points of held-out accuracy lost, "
        f"and {config.stop_saving:g} % a point are asked"
    )
