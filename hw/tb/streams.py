"""Drivers and monitor of an array's streams: stall patterns, beats as records of files.

The records are those that hw.tb.array_wrapper reads and writes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.spec import ArraySpec, Tile
from hw.tb import files
from hw.tb.array_wrapper import FILES, input_width, layout, sums_width
from hw.tb.drivers import soiled
from hw.tb.products import Product
from hw.tb.wrapper import padded

FLAGS = ("clear", "emit")
LONGEST = 100  # cycles that the pattern `long` waits


def gaps(pattern: str, beats: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Cycles that a source waits before each of `beats` beats."""
    if pattern == "random":
        return rng.geometric(rng.uniform(0.3, 0.9), beats) - 1
    if pattern == "alternating":
        return np.ones(beats, dtype=np.int64)
    waits = np.zeros(beats, dtype=np.int64)
    if pattern == "bursts":
        waits[:: int(rng.integers(2, 9))] = rng.integers(2, 12)
    if pattern == "long":
        waits[rng.integers(beats)] = LONGEST
    return waits


def takes(pattern: str, beats: int, rng: np.random.Generator) -> NDArray[np.uint32]:
    """How a sink takes each of `beats` beats: a record of hold, low and high (hw.tb.array_wrapper).

    Random, alternating and bursts go on and off whether or not a beat is offered; `long` lets an
    offered beat wait.
    """
    low, high, hold = gaps(pattern, beats, rng), np.zeros(beats, dtype=np.int64), pattern == "long"
    if pattern == "random":
        high = rng.geometric(0.5, beats)
    if pattern == "alternating":
        high = low
    return (hold * (low > 0) << 31 | low << 16 | high).astype(np.uint32)


def pack(shape: Any, values: Mapping[str, Any], beats: int) -> NDArray[np.uint8]:
    """Bits of `beats` payloads of the layout `shape`, lowest first: (beats, bits).

    `values` are a number or an array (beats,) for a field, (beats, words) for a row of words.
    """
    bits = np.zeros((beats, shape.size), dtype=np.uint8)
    for name, value in values.items():
        where, codes = shape[name], np.atleast_1d(value).astype(np.int64)
        words = codes.shape[1] if codes.ndim == 2 else 1
        width = where.width // words
        spread = codes.reshape(-1, words, 1) >> np.arange(width) & 1
        flat = spread.reshape(len(codes), words * width)  # no bit for what has one value
        bits[:, where.offset : where.offset + where.width] = flat
    return bits


@dataclass
class Driver:
    """Turns products into records of all streams, with garbage where none must look.

    The bits of a lane below its code are random, and so are rows and columns that a tile does not
    use.
    """

    spec: ArraySpec
    rng: np.random.Generator
    records: dict[str, list[NDArray[np.uint8]]] = field(init=False)
    ready: list[NDArray[np.uint32]] = field(init=False)

    def __post_init__(self) -> None:
        self.records, self.ready = {"weights": [], "activations": []}, []

    def drive(self, product: Product) -> None:
        """Append a product's tiles, stalled as it says."""
        tiles = product.tiles(self.spec)
        w, a = self._beats(product, tiles)
        rows, beats = (np.array([getattr(t, x) for t in tiles]) for x in ("rows", "beats"))
        ends, starts = np.cumsum(rows) - 1, np.cumsum(beats) - beats
        weights = {"words": w, "last": np.isin(np.arange(len(w)), ends)}
        activations = {"words": a, "first": np.isin(np.arange(len(a)), starts)}
        activations |= {x: np.repeat([getattr(t, x) for t in tiles], beats) for x in FLAGS}
        for name, value in self.spec.mac.controls(product.mode).items():
            if name != "a_bits" and name != "a_signed":
                weights[name] = value
            if name != "w_bits":
                activations[name] = value
        self._append("weights", weights, gaps(product.stalls["weights"], len(w), self.rng))
        self._append(
            "activations", activations, gaps(product.stalls["activations"], len(a), self.rng)
        )
        sums = sum(tile.beats for tile in tiles if tile.emit)
        self.ready.append(takes(product.stalls["sums"], sums, self.rng))

    def _beats(
        self, product: Product, tiles: list[Tile]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Words of all tiles' beats: weights (beats, columns), activations (beats, rows)."""
        spec, mode = self.spec, product.mode
        along_k, along_n = spec.lanes_along(mode)
        w, a = spec.words(product.w, product.a, mode)
        w[:, -(-product.w.shape[1] // along_n) :] = ~0
        a = np.pad(a, ((0, 0), (0, -a.shape[1] % spec.rows)), constant_values=~0)
        w_parts, a_parts = [], []
        for tile in tiles:
            row, column = tile.k.start // along_k, tile.n.start // along_n
            w_parts.append(w[row : row + tile.rows, column : column + spec.columns])
            a_parts.append(a[tile.m, row : row + spec.rows])
        w, a = np.concatenate(w_parts), np.concatenate(a_parts)
        return self._soiled(w, spec.w_width, mode.w_bits, mode.lanes), self._soiled(
            a, spec.a_width, mode.a_bits, mode.lanes
        )

    def _soiled(
        self, words: NDArray[np.int64], width: int, bits: int, lanes: int
    ) -> NDArray[np.int64]:
        """Random bits below the code of each lane, and in words that are none (-1)."""
        unused = self.rng.integers(0, 1 << width, words.shape)
        return np.where(words < 0, unused, soiled(words, width, bits, lanes, self.rng))

    def _append(self, stream: str, values: Mapping[str, Any], waits: NDArray[np.int64]) -> None:
        payload = pack(layout(self.spec, stream), values, len(waits))
        width = padded(input_width(self.spec, stream))
        bits = np.zeros((len(waits), width + 32), dtype=np.uint8)
        bits[:, : payload.shape[1]] = payload
        bits[:, width:] = waits[:, None] >> np.arange(32) & 1
        self.records[stream].append(np.packbits(bits[:, ::-1], axis=1))


@dataclass(frozen=True)
class Monitor:
    """Reads the beats of sums that a simulation wrote."""

    spec: ArraySpec

    def beats(self, raw: bytes) -> tuple[NDArray[np.uint32], NDArray[Any]]:
        """The cycle in which each beat passed (beats,), and its words (beats, columns)."""
        width, columns = self.spec.mac.acc_width, self.spec.columns
        size = 1 + padded(sums_width(self.spec)) // 32
        records = np.frombuffer(raw, dtype="=u4")
        records = records[: len(records) // size * size].reshape(-1, size)
        words = np.zeros((len(records), columns), dtype=object)
        for c in range(columns):
            low, high = c * width // 32, -(-(c + 1) * width // 32)
            parts = records[:, 1 + low : 1 + high].astype(object)
            value = sum(parts[:, n] << (32 * n) for n in range(high - low))
            words[:, c] = (value >> (c * width - 32 * low)) & ((1 << width) - 1)
        return records[:, 0], words


class Files(files.Files):
    """The streams of one simulation, in `folder`."""

    def __init__(self, folder: Path):
        super().__init__(folder, FILES)

    def write(self, driver: Driver) -> None:
        """Write the records of the input streams, and how sums are taken."""
        for stream, parts in driver.records.items():
            with self.paths[stream].open("wb") as file:
                file.writelines(part.tobytes() for part in parts)
        with self.paths["ready"].open("wb") as file:
            file.writelines(part.astype(">u4").tobytes() for part in driver.ready)
