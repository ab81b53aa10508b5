"""Zero-delay counts of a whole run in C: streams side by side, gates counted where they are made.

64 streams of one batch make a word, and two rows of 8 words go through all cycles together;
transitions are those from cycle to cycle, so that nothing is simulated twice.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from flows.gates.circuit import Circuit
from flows.simulator import kernel
from flows.simulator.counting import tallies
from flows.simulator.cycles import WIDTH, Codes, Cycles, Ports
from flows.simulator.engine import Deal, pieces, share_out
from flows.simulator.kernel import LANES, Buffers
from flows.simulator.waveform import Counts, Words

WORD = 64  # streams


class Settled:
    """A circuit ready to be counted without delays."""

    def __init__(self, circuit: Circuit, threads: int = 1) -> None:
        self.circuit, self.threads = circuit, threads
        self.cycles = Cycles(circuit, every=True)
        self.buffers = [Buffers() for _ in range(threads)]

    def run(self, ports: Ports, warmup: int, batches: int) -> Counts:
        """As flows.simulator.engine.Engine.run, of settled values."""
        cycles, streams = (max(words.shape[i] for _, words in ports) for i in (0, 1))
        each = streams // batches
        deal, order, masks = _streams(each, batches)
        nets = len(self.circuit.netlist.nets)
        tally = [tallies(deal.phases, nets, buffers) for buffers in self.buffers]

        def work(thread: int, part: Codes) -> None:
            rows = slice(int(part[0]), int(part[-1]) + 1)
            state = self.cycles.start(ports, order[rows], self.buffers[thread])
            self.cycles.skip(state, warmup - 1)
            phase = rows.start % deal.phases
            self.cycles.count(state, cycles - warmup, masks[rows], phase, tally[thread])

        share_out(pieces(len(order), WIDTH, self.threads), self.threads, work)
        counts: Counts = deal.batches(sum(tally[1:], tally[0]), batches)
        clocks = list(self.circuit.clocks)
        counts[:, clocks, :2] = 2 * counts[:, clocks, 3:]
        counts[:, clocks, 2:] = 0
        counts[:, self.cycles.ones, 2:] = (cycles - warmup) * each
        return counts


@lru_cache
def _streams(each: int, batches: int) -> tuple[Deal, Codes, Words]:
    """Words of `each` streams of every batch, dealt; the stream of every bit, shape (rows, 512),
    bit j of word w at 8 j + w; and masks of the bits that have one."""
    per_batch = -(-each // WORD)
    deal = Deal.of(per_batch * batches, batches)
    number = deal.words % per_batch * WORD + np.arange(WORD)[:, None, None]  # (bit, row, word)
    found = (deal.words >= 0) & (number < each)
    streams = np.where(found, deal.words // per_batch * each + number, 0).swapaxes(0, 1)
    masks = kernel.rows(len(deal.words))
    masks[:] = (found.astype(np.uint64) << np.arange(WORD, dtype=np.uint64)[:, None, None]).sum(0)
    return deal, np.ascontiguousarray(streams).reshape(len(masks), WORD * LANES), masks
