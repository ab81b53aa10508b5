"""A network's layers in blocks of complete sums, dealt out to simulators that run side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.layers import Layer
from hw.rtl.spec import ArraySpec
from hw.tb.products import STREAMS, Product

LAST = "last.npz"  # a simulator's part of the last layer's sums, as the array gave them


@dataclass(frozen=True)
class Block:
    """Rows `m` and columns `n` of a product of layer number `layer`, along all of K."""

    layer: int
    group: int
    m: slice
    n: slice

    def macs(self, layers: Sequence[Layer]) -> int:
        """Multiply-accumulates of the block."""
        layer = layers[self.layer]
        return layer.sums[self.group, self.m, self.n].size * layer.shape[1]

    def product(self, layers: Sequence[Layer], spec: ArraySpec) -> Product:
        """What the array computes for it, without stalls."""
        layer = layers[self.layer]
        return Product(
            mode=layer.mode(spec.mac),
            w=layer.w[self.group][:, self.n],
            a=layer.a[self.group][self.m],
            stalls=dict.fromkeys(STREAMS, "none"),
        )


def blocks(
    layers: Sequence[Layer], spec: ArraySpec, sample: int, rng: np.random.Generator
) -> list[Block]:
    """All blocks in the order of the layers or, with `sample` > 0, so many of each layer.

    A block has the `depth` rows of M whose sums the array keeps. A sampled one is as wide as the
    array, any other has every column.
    """
    drawn = [
        _sampled(number, layer, spec, sample, rng) if sample else _all(number, layer, spec)
        for number, layer in enumerate(layers)
    ]
    return [block for found in drawn for block in found]


def _all(number: int, layer: Layer, spec: ArraySpec) -> Iterator[Block]:
    m, _, n = layer.shape
    for group in range(layer.groups):
        for row in range(0, m, spec.depth):
            yield Block(number, group, slice(row, min(row + spec.depth, m)), slice(0, n))


def _sampled(
    number: int, layer: Layer, spec: ArraySpec, sample: int, rng: np.random.Generator
) -> Iterator[Block]:
    m, _, n = layer.shape
    width = spec.columns * spec.lanes_along(layer.mode(spec.mac))[1]
    for _ in range(sample):
        group = int(rng.integers(layer.groups))
        row = int(rng.integers(max(m - spec.depth, 0) + 1))
        column = width * int(rng.integers(-(-n // width)))
        rows, columns = slice(row, min(row + spec.depth, m)), slice(column, min(column + width, n))
        yield Block(number, group, rows, columns)


def share(costs: Sequence[int], jobs: int) -> list[list[int]]:
    """Numbers of the items that each of `jobs` gets, in order: the dearest first to whom has least.

    >>> share([5, 1, 3, 3], 2)
    [[0, 1], [2, 3]]
    """
    loads, found = [0] * jobs, [list[int]() for _ in range(jobs)]
    for item in sorted(range(len(costs)), key=lambda n: -costs[n]):
        job = loads.index(min(loads))
        loads[job] += costs[item]
        found[job].append(item)
    return [sorted(own) for own in found]


def pasted(layer: Layer, placed: Sequence[tuple[Block, NDArray[np.int64]]]) -> NDArray[np.int64]:
    """Blocks' sums where they stand in the layer's, zero elsewhere: (groups, M, N)."""
    sums = np.zeros_like(layer.sums)
    for block, values in placed:
        sums[block.group, block.m, block.n] = values
    return sums
