"""Stimulus of a systolic array: the tiles of a product, as they come off its schedule.

Weights of a tile are loaded while the tile before runs, its activations follow as soon as they are,
and sums are always taken: the streams' handshakes of `hw.rtl.systolic_array`, cycle by cycle.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from flows.netlist import Netlist
from flows.simulator.code_files import Codes
from flows.simulator.functional import Bits
from flows.stimulus import activations, weights
from hw.rtl.spec import ArraySpec, Mode, Tile

Beat = tuple[tuple[int, int], ...]  # (value, width) of the payload's fields, lowest first


@dataclass(frozen=True)
class Cycle:
    """What the ports get in a cycle; None where a stream has nothing.

    `macs` are the multiply-accumulates that the beat of activations brings to the product.
    """

    weights: Beat | None
    activations: Beat | None
    macs: int


def random_schedule(
    spec: ArraySpec, mode: Mode, kind: str, rng: np.random.Generator, cycles: int
) -> list[Cycle]:
    """So many cycles of one product whose K has as many tiles as are begun in them."""
    per_row, per_column = spec.lanes_along(mode)
    tiles = min(-(-cycles // spec.depth) + 2, spec.k_max // (spec.rows * per_row))
    k, n = tiles * spec.rows * per_row, spec.columns * per_column
    w = weights(rng, kind, mode.w_bits, (k, n))
    a = activations(rng, kind, mode.a_bits, (spec.depth, k), signed=mode.a_signed)
    return schedule(spec, mode, w, a, list(spec.tiles(spec.depth, k, n, mode)), cycles)


def schedule(
    spec: ArraySpec, mode: Mode, w: Codes, a: Codes, tiles: Sequence[Tile], cycles: int
) -> list[Cycle]:
    """So many cycles of tiles of the product `a` (M, K) times `w` (K, N), one after the other."""
    packed = [spec.pack(w, a, tile, mode) for tile in tiles]
    loads = _beats([_weight_beats(spec, mode, words) for words, _ in packed])
    runs = _beats(
        [
            _activation_beats(spec, mode, words, tile.clear, tile.emit)
            for (_, words), tile in zip(packed, tiles, strict=True)
        ]
    )
    macs = [(t.k.stop - t.k.start) * (t.n.stop - t.n.start) for t in tiles for _ in range(t.beats)]
    return list(_handshake(loads, runs, macs, cycles))


def inputs(netlist: Netlist, streams: list[list[Cycle]]) -> dict[int, Bits]:
    """Bits of every data input, shape (cycles, streams)."""
    found: dict[int, Bits] = {}
    ports = netlist.inputs
    shape = (len(streams[0]), len(streams))
    for name in ("weights", "activations"):
        beats = [[getattr(cycle, name) for cycle in stream] for stream in streams]
        valid = np.array([[beat is not None for beat in row] for row in beats], np.uint8).T
        found[ports[f"{name}__valid"][0]] = np.ascontiguousarray(valid)
        nets = ports[f"{name}__payload"]
        bits = np.array([_held(row, len(nets)) for row in beats], np.uint8)
        found |= {net: np.ascontiguousarray(bits[:, :, i].T) for i, net in enumerate(nets)}
    found[ports["sums__ready"][0]] = np.ones(shape, np.uint8)
    found[ports["rst"][0]] = np.zeros(shape, np.uint8)
    return found


def useful_macs(streams: list[list[Cycle]], start: int) -> int:
    """Multiply-accumulates of the beats of activations from cycle `start` on."""
    return sum(cycle.macs for stream in streams for cycle in stream[start:])


def _held(beats: list[Beat | None], width: int) -> NDArray[np.uint8]:
    """Bits (cycles, width); without a beat the port keeps the last one."""
    rows = np.zeros((len(beats), width), np.uint8)
    for i, beat in enumerate(beats):
        rows[i] = rows[i - 1] if beat is None and i else rows[i] if beat is None else _bits(beat)
    return rows


def _bits(beat: Beat) -> NDArray[np.uint8]:
    return np.array([value >> i & 1 for value, width in beat for i in range(width)], np.uint8)


def _weight_beats(spec: ArraySpec, mode: Mode, words: NDArray[np.int64]) -> list[Beat]:
    mac, control = spec.mac, spec.mac.controls(mode)
    rest = []
    if mac.scalable:
        rest.append((control["w_bits"], (mac.w_width - 1).bit_length()))
    if mac.subword:
        rest.append((control["lanes"], (len(mac.lane_counts) - 1).bit_length()))
    last = len(words) - 1
    return [
        (*((int(word), mac.w_width) for word in row), (int(i == last), 1), *rest)
        for i, row in enumerate(words)
    ]


def _activation_beats(
    spec: ArraySpec, mode: Mode, words: NDArray[np.int64], clear: bool, emit: bool
) -> list[Beat]:
    mac, control = spec.mac, spec.mac.controls(mode)
    rest = [(int(clear), 1), (int(emit), 1), (control["a_signed"], 1)]
    if mac.scalable:
        rest.append((control["a_bits"], (mac.a_width - 1).bit_length()))
    if mac.subword:
        rest.append((control["lanes"], (len(mac.lane_counts) - 1).bit_length()))
    return [
        (*((int(word), mac.a_width) for word in row), (int(i == 0), 1), *rest)
        for i, row in enumerate(words)
    ]


def _beats(tiles: list[list[Beat]]) -> list[tuple[Beat, int, int]]:
    """Beats with their number in the tile and the beats that the tile has."""
    return [(beat, i, len(tile)) for tile in tiles for i, beat in enumerate(tile)]


def _handshake(
    loads: list[tuple[Beat, int, int]],
    runs: list[tuple[Beat, int, int]],
    macs: list[int],
    cycles: int,
) -> Iterator[Cycle]:
    """The beats that are taken in each cycle; one that waits is not shown."""
    loaded, next_load, next_run = False, 0, 0
    for _ in range(cycles):
        load = run = None
        if not loaded and next_load < len(loads):
            load = loads[next_load]
            next_load += 1
        if next_run < len(runs) and (loaded or runs[next_run][1]):
            run = runs[next_run]
            next_run += 1
        # As the hardware's: set by a tile's last weights, cleared by its first activations.
        last = load is not None and load[1] == load[2] - 1
        loaded = (loaded or last) and not (run is not None and run[1] == 0)
        yield Cycle(load and load[0], run and run[0], macs[next_run - 1] if run else 0)
