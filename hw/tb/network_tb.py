"""cocotb bench of an array that computes the layers of a network, one mode after the other.

hw.tb.network starts it and says through the environment (BENCH, a JSON object) which array to test
and where the layers' operands are.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import cocotb
import numpy as np

from hw.rtl.layers import Layer, read_layers
from hw.rtl.spec import ArraySpec
from hw.tb.products import STREAMS, Product
from hw.tb.systolic_array_tb import Checker, Testbench


def layer_products(
    layer: Layer, spec: ArraySpec, sample: int, rng: np.random.Generator
) -> Iterator[Product]:
    """The products of a layer, whole or, with `sample` > 0, so many blocks of complete sums.

    A block is what the array emits at once: `depth` rows of M and the columns of N that its lanes
    hold, along all of K.
    """
    mode = layer.mode(spec.mac)
    block = spec.columns * spec.lanes_along(mode)[1]
    for number in range(sample or layer.groups):
        group = int(rng.integers(layer.groups)) if sample else number
        a, w = layer.a[group], layer.w[group]
        if sample:
            row = int(rng.integers(max(len(a) - spec.depth, 0) + 1))
            column = block * int(rng.integers(-(-w.shape[1] // block)))
            a, w = a[row : row + spec.depth], w[:, column : column + block]
        yield Product(mode=mode, w=w, a=a, stalls=dict.fromkeys(STREAMS, "none"))


@cocotb.test()
async def every_layer(dut):
    task = json.loads(os.environ["BENCH"])
    folder, spec, seed = Path(task["folder"]), ArraySpec(**task["spec"]), task["seed"]
    rng = np.random.default_rng(seed)
    layers = read_layers(task["layers"])
    products = [p for layer in layers for p in layer_products(layer, spec, task["sample"], rng)]
    outcome = {
        "macs": sum(int(np.prod(p.shape)) for p in products),
        "tiles": sum(len(p.tiles(spec)) for p in products),
        "modes": len({p.mode for p in products}),
    }
    try:
        run = await Testbench(dut, spec, 0, seed, folder).run(products)
        outcome |= {"cycles": run.cycles, "simulation_s": run.seconds}
        Checker(spec, seed).check(products, run)
    except AssertionError as error:
        outcome["error"] = str(error)
        raise
    finally:
        (folder / "outcome.json").write_text(json.dumps(outcome), encoding="utf-8")
