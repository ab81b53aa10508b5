"""Energy of every layer of a finished run, priced again from the network's shapes."""

from __future__ import annotations

import math

from flows.table import EnergyTable
from quanos.energy import LayerEnergy, layer_shapes, mac_energy, price
from quanos.models import UnknownModelError, skeleton
from quanos.results import Column, Run


def layer_energy(
    run: Run, column: Column, table: EnergyTable, key: tuple[str, str, str]
) -> tuple[LayerEnergy, ...]:
    """The column's layers at the operating point (scheme, reading, supply).

    Empty where the layers do not add up to the energy that the run's summary gives. Raises
    UnknownModelError for a network of one's own whose module was not imported.
    """
    scheme, reading, supply = key
    try:
        model = skeleton(run.model, run.input_shape, run.classes)
        mac = mac_energy(scheme, reading, table, supply=supply)
        cost = price(layer_shapes(model, run.input_shape), column.bits, mac)
    except UnknownModelError:
        raise
    except (ValueError, RuntimeError, KeyError):
        return ()
    same = math.isclose(cost.energy_mj, column.prices[key].energy_mj, rel_tol=1e-6)
    return cost.layers if same else ()
