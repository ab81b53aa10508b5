"""Sensing and assigning in a training run: what is measured, when, and which bits follow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import TypeVar

from torch import nn

from flows.table import EnergyTable
from quanos.accuracy import accuracy
from quanos.allocation.stopping import Standing, begin
from quanos.ans import adversarial_noise_sensitivity
from quanos.attacks import fgsm
from quanos.config import Config
from quanos.data import Dataset, Split
from quanos.energy import energy_costs, layer_shapes, mac_energy, resolve_bits
from quanos.layers import get_bits, set_bits
from quanos.policies import KIND, Budget, assign
from quanos.sensing.measurement import Measurement
from quanos.sensing.sensitivities import measure
from quanos.training.parallel import group
from quanos.training.state import State

Value = TypeVar("Value", int, float)


def sense(model: nn.Module, split: Split, config: Config) -> dict[str, float]:
    """ANS of every layer on the first `ans_images` training images."""
    return adversarial_noise_sensitivity(
        model,
        split.first(config.ans_images).batches(256),
        attack=replace(fgsm(config.ans_epsilon), eps_space=config.eps_space),
        reduction=config.ans_reduction,
    )


def rounds(config: Config) -> range:
    """The epochs after which ANS is sensed and bits are assigned."""
    return range(
        config.sense_epoch,
        config.sense_epoch + config.rounds * config.round_epochs,
        config.round_epochs,
    )


def assign_bits(state: State, config: Config, data: Dataset, table: EnergyTable | None) -> None:
    """Give each layer the bits that policy and budget make of the last measurement.

    The first round starts from k0, a later one from the bits that are, or with a limit from k0; a
    shortcut takes those of the layer it feeds. A measurement of another kind than ANS is kept in
    the round, as `measured`.
    """
    first = len(state.rounds) == 1
    if config.stops and first:
        begin(state.rounds, standing(state.model, data, config, table))
    costs = None
    if config.energy_mj:
        costs = energy_costs_mj(state.model, data.input_shape, config, table)
    budget = Budget(
        k0=config.k0,
        start=None if first else get_bits(state.model),
        mean_bits=config.mean_bits or None,
        energy_mj=config.energy_mj or None,
        costs_mj=costs,
        seed=config.seed,
    )
    feeds, ans = shortcuts(state.model), state.rounds[-1]["ans"]
    measurement = measured(state.model, ans, data.train, config)
    if measurement.kind != "ans":
        state.rounds[-1]["measured"] = measurement.to_json()
    own = assign(config.policy, measurement.without(feeds), budget)
    bits = resolve_bits(list(ans), own, feeds)
    set_bits(state.model, bits)
    state.rounds[-1]["bits"] = bits


def measured(model: nn.Module, ans: dict[str, float], split: Split, config: Config) -> Measurement:
    """The measurement that the policy takes: ANS, which is there, or another one made now."""
    kind = KIND[config.policy]
    if kind in (None, "ans"):
        return Measurement(kind="ans", layers=ans)
    batches = split.first(config.ans_images).batches(256)
    attack = replace(fgsm(config.ans_epsilon), eps_space=config.eps_space)
    make = partial(measure, kind, model, batches, attack=attack, seed=config.seed)
    return group(config.device).from_lead(make)


def energy_costs_mj(
    model: nn.Module, input_shape: tuple[int, ...], config: Config, table: EnergyTable | None
) -> dict[str, list[float]]:
    """Energy in mJ of each layer at 1..16 bits, by the scheme that budgets are counted in."""
    mac = mac_energy(config.energy_scheme, table=table)
    return energy_costs(layer_shapes(model, input_shape), mac, shortcuts(model))


def energy_mj(
    model: nn.Module, input_shape: tuple[int, ...], config: Config, table: EnergyTable | None
) -> float:
    """Energy in mJ of one image at the bits that the model has, as budgets count it."""
    costs = energy_costs_mj(model, input_shape, config, table)
    bits = own_layers(model, get_bits(model))
    return sum(costs[name][k - 1] for name, k in bits.items())


def standing(
    model: nn.Module, data: Dataset, config: Config, table: EnergyTable | None
) -> Standing:
    """What the network costs and does now. Raises ValueError where no image was held out."""
    held_out = data.validation
    if not held_out:
        raise ValueError("rounds are judged by held-out images, and the data set has none.")
    reached = group(config.device).from_lead(lambda: accuracy(model, held_out))
    energy = energy_mj(model, data.input_shape, config, table)
    return Standing(energy_mj=energy, accuracy=reached)


def shortcuts(model: nn.Module) -> dict[str, str]:
    """Which layer each shortcut convolution feeds; a network without any may say nothing."""
    feeds: dict[str, str] = getattr(model, "feeds", {})
    return feeds


def own_layers(model: nn.Module, values: Mapping[str, Value]) -> dict[str, Value]:
    """The values of the layers that are no shortcuts."""
    return {name: value for name, value in values.items() if name not in shortcuts(model)}
