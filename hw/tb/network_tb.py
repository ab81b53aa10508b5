"""cocotb bench of an array that computes the layers of a network, one mode after the other.

hw.tb.network starts it and says through the environment (BENCH, a JSON object) which array to test,
where the layers' operands are, and which share of them is this simulator's.
"""

from __future__ import annotations

import json
import math
import os
from pathlib import Path

import cocotb
import numpy as np

from hw.rtl.layers import read_layers
from hw.rtl.spec import ArraySpec
from hw.tb.blocks import LAST, blocks, pasted, share
from hw.tb.files import telling
from hw.tb.systolic_array_tb import Checker, Testbench


@cocotb.test()
async def every_layer(dut):
    task = json.loads(os.environ["BENCH"])
    folder, spec, seed = Path(task["folder"]), ArraySpec(**task["spec"]), task["seed"]
    layers = read_layers(task["layers"])
    found = blocks(layers, spec, task["sample"], np.random.default_rng(seed))
    sent = [block.product(layers, spec) for block in found]
    costs = [spec.cycles(*product.shape, product.mode) for product in sent]
    own = share(costs, task["jobs"])[task["job"]]
    products = [sent[n] for n in own]
    with telling(folder) as outcome:
        outcome |= {
            "macs": sum(math.prod(product.shape) for product in products),
            "tiles": sum(len(product.tiles(spec)) for product in products),
            "modes": sorted({str(product.mode) for product in products}),
        }
        run = await Testbench(dut, spec, 0, seed, folder).run(products)
        outcome |= {"cycles": run.cycles, "clock_s": run.seconds, "processor_s": run.processor_s}
        sums = Checker(spec, seed).check(products, run)
        placed = [(found[n], values) for n, values in zip(own, sums, strict=True)]
        last = [pair for pair in placed if pair[0].layer == len(layers) - 1]
        np.savez(folder / LAST, sums=pasted(layers[-1], last))
