"""Two protocols as lists of attacks: the paper's as printed, and the strong one.

The registry `STRONG` is the one place that says which attacks there are; results, gate, command
line and progress bar follow from it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from quanos.adversary.apgd import Apgd
from quanos.adversary.square import Square
from quanos.adversary.task import RANGES
from quanos.attacks import Attack, fgsm, pgd
from quanos.config import Config

FULL = {
    "strong_steps": 100,
    "strong_restarts": 5,
    "apgd_steps": 100,
    "apgd_targets": 9,
    "square_queries": 5000,
}
"""The budget of the standard AutoAttack; a run's own is smaller."""


@dataclass(frozen=True, kw_only=True)
class Member:
    """An attack of the strong protocol.

    `box` is "white" (sees the network's gradients), "transfer" (sees those of `twin`) or "black"
    (sees logits). One with `everywhere` is tried on all images that are classified right, so that
    its accuracy is its own; the others only on those that withstood all before.
    """

    name: str
    box: str
    make: Callable[[float, Config], Attack]
    twin: str | None = None
    everywhere: bool = False
    needs: tuple[str, ...] = ()
    """Keys of the configuration; the attack is left out where one of them is zero."""


def _pgd(name: str, *, identity: bool = False) -> Callable[[float, Config], Attack]:
    def make(epsilon: float, config: Config) -> Attack:
        return pgd(
            epsilon,
            name=name,
            steps=config.strong_steps,
            restarts=config.strong_restarts,
            random_start=True,
            identity=identity,
            early_stop=True,
        )

    return make


def _temperature(epsilon: float, config: Config) -> Attack:
    """Every temperature has its share of the steps, and as many restarts as PGD."""
    return pgd(
        epsilon,
        name="pgd_temperature",
        steps=max(config.strong_steps // len(RANGES), 1),
        restarts=config.strong_restarts * len(RANGES),
        loss="temperature",
        early_stop=True,
    )


def _apgd(name: str, loss: str) -> Callable[[float, Config], Attack]:
    return lambda epsilon, config: Apgd(
        name=name, epsilon=epsilon, steps=config.apgd_steps, loss=loss
    )


def _targeted(epsilon: float, config: Config) -> Attack:
    plain = _apgd("apgd_t", "dlr_targeted")(epsilon, config)
    return replace(plain, restarts=max(config.apgd_targets, 1))


def _square(epsilon: float, config: Config) -> Attack:
    return Square(name="square", epsilon=epsilon, queries=max(config.square_queries, 1))


def _transfer(twin: str) -> Member:
    def make(epsilon: float, config: Config) -> Attack:
        return pgd(epsilon, name=f"transfer_{twin}", steps=config.strong_steps, random_start=True)

    return Member(name=f"transfer_{twin}", box="transfer", make=make, twin=twin)


STRONG = (
    Member(name="fgsm", box="white", make=lambda epsilon, _: fgsm(epsilon), everywhere=True),
    Member(name="pgd", box="white", make=_pgd("pgd"), everywhere=True),
    Member(name="pgd_identity", box="white", make=_pgd("pgd_identity", identity=True)),
    Member(name="pgd_temperature", box="white", make=_temperature),
    Member(name="apgd_ce", box="white", make=_apgd("apgd_ce", "ce"), needs=("apgd_steps",)),
    Member(name="apgd_dlr", box="white", make=_apgd("apgd_dlr", "dlr"), needs=("apgd_steps",)),
    Member(name="apgd_t", box="white", make=_targeted, needs=("apgd_steps", "apgd_targets")),
    _transfer("float"),
    _transfer("2"),
    _transfer("16"),
    _transfer("seed"),
    Member(name="square", box="black", make=_square, needs=("square_queries",)),
)
"""White box first, cheap before dear: what black boxes still find, gradients had hidden."""


def members(config: Config) -> list[Member]:
    """The attacks that the configuration has a budget for."""
    return [one for one in STRONG if all(getattr(config, key) for key in one.needs)]


def strong_attack(name: str, epsilon: float, config: Config) -> Attack:
    """The attack of that name; ValueError for an unknown one."""
    found = {member.name: member for member in STRONG}
    if name not in found:
        raise ValueError(f"attack {name!r} is unknown; there are {', '.join(found)}.")
    return in_space(found[name].make(epsilon, config), config)


def paper_protocol(config: Config) -> Iterator[Attack]:
    """FGSM and PGD as printed; PGD's steps together may not reach its epsilon."""
    for epsilon in config.fgsm_epsilons:
        yield in_space(fgsm(epsilon), config)
    for epsilon in config.pgd_epsilons:
        yield in_space(pgd(epsilon, steps=config.pgd_steps, step_size=2 / 255), config)


def in_space(attack: Attack, config: Config) -> Attack:
    """The attack with its epsilon in the configuration's space."""
    return replace(attack, eps_space=config.eps_space)


def count_attacks(config: Config) -> int:
    """How often `robustness.evaluate` calls `advance`: every attack, worst cases, the gate."""
    paper = len(config.fgsm_epsilons) + len(config.pgd_epsilons)
    return paper + len(config.pgd_epsilons) * (len(members(config)) + 1) + 1
