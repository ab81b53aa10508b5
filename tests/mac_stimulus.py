"""A MAC's stimulus as bits of its nets, as simulators without words take it."""

from flows.simulator.functional import Bits
from flows.stimulus import bits_by_net, mac_words


def mac_inputs(spec, mode, netlist, *drawn) -> dict[int, Bits]:
    """`flows.stimulus.mac_words` as bits of shape (warmup + 64, streams), by net."""
    return bits_by_net(netlist, mac_words(spec, mode, netlist, *drawn))
