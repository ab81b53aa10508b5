"""How a MAC that is not the project's is driven: ports, modes, and the words that they get.

The file of `flows.own_mac`, TOML, paths relative to it:

    clock_ps = 2000                  # default: the longest path of all, rounded up to 10 ps

    [[mac]]
    netlist = "build/my_mac.netlist.json"
    scheme = "fixed"                 # whose place its rows take: fixed, dg, dvafs or dvafs_st
    bits = [8]                       # precisions, of both operands
    weights = "w"                    # ports
    activations = "a"
    signed = "a_signed"              # port that is 1 where activations are signed; "": none is;
                                     # "always": they are, on a port with a bit for the sign
    clear = "clear"                  # port that is 1 where a sum starts; "": none does
    hold = { en = 1 }                # all other ports
    lanes = 1                        # codes side by side in a word, the first one lowest
    align = "lsb"                    # where in its lane a code stands; "msb": zeros below it

Operands are uniform codes. Activations are unsigned and, where a port says so, signed too, which a
network needs whose images are normalised: a table without such rows prices no first layer.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np

from flows import stimulus
from flows.console import FlowError
from flows.energy.measure_point import WARMUP
from flows.netlist import Netlist
from flows.simulator.code_files import Codes, check_codes
from flows.stimulus import CYCLES
from flows.table import MAX_BITS, SCHEMES
from hw import toml

ALIGNMENTS = ("lsb", "msb")
ALWAYS = "always"  # no port can have the name of this keyword of Verilog
LONGEST_PS = 1e9  # of a clock: a millisecond


@dataclass(frozen=True, kw_only=True)
class OwnMac:
    """How one netlist is driven; the module's text explains the fields."""

    netlist: str
    scheme: str
    bits: tuple[int, ...]
    weights: str = "w"
    activations: str = "a"
    signed: str = ""
    clear: str = ""
    hold: dict[str, int] = field(default_factory=dict)
    lanes: int = 1
    align: str = "lsb"

    def __post_init__(self) -> None:
        for name, allowed in (("scheme", SCHEMES), ("align", ALIGNMENTS)):
            if (value := getattr(self, name)) not in allowed:
                raise FlowError(f"{name} {value!r} is not known; {', '.join(allowed)} are.")
        if not self.bits or any(type(k) is not int or not 1 <= k <= MAX_BITS for k in self.bits):
            raise FlowError(f"bits must be whole numbers from 1 to {MAX_BITS}, not {self.bits}.")
        if type(self.lanes) is not int or self.lanes < 1:
            raise FlowError(f"lanes must be a whole number from 1 on, not {self.lanes!r}.")
        if wrong := [port for port, v in self.hold.items() if type(v) is not int or v < 0]:
            raise FlowError(f"hold must give {wrong[0]} a whole number from 0 on.")

    @property
    def driven(self) -> set[str]:
        """The ports that get a value."""
        own = {self.weights, self.activations, self.signed, self.clear} - {"", ALWAYS}
        return own | set(self.hold)


def read(path: Path) -> tuple[list[OwnMac], float]:
    """The MACs of a file and the clock that it asks for, 0 for none; FlowError for what is none."""
    try:
        data = toml.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FlowError(f"{path} is no valid TOML ({error}).") from None
    try:
        macs, clock_ps = data.pop("mac", []), _clock_ps(data.pop("clock_ps", 0))
        if data or not isinstance(macs, list) or not macs:
            raise FlowError("it must hold clock_ps, if anything, and [[mac]] entries alone.")
        return [_mac(entry, path.parent) for entry in macs], clock_ps
    except FlowError as error:
        raise FlowError(f"{path}: {error}") from None


def _clock_ps(value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 <= value < LONGEST_PS:
        raise FlowError(f"clock_ps must be a number of ps from 0 to 1e9, not {value!r:.40}.")
    return float(value)


def _mac(entry: Any, folder: Path) -> OwnMac:
    kinds = {f.name: f.type for f in fields(OwnMac)}
    wanted = {"str": str, "int": int, "tuple[int, ...]": list, "dict[str, int]": dict}
    if not isinstance(entry, dict):
        raise FlowError(f"[[mac]] must be a table of keys, not {entry!r:.40}.")
    for name, value in entry.items():
        if name not in kinds or not isinstance(value, wanted[str(kinds[name])]):
            raise FlowError(
                f"{name} = {value!r:.40} is not understood; keys are {', '.join(kinds)}."
            )
    if missing := sorted({"netlist", "scheme", "bits"} - set(entry)):
        raise FlowError(f"a [[mac]] lacks {', '.join(missing)}.")
    place = folder / entry["netlist"]
    return OwnMac(**entry | {"netlist": str(place), "bits": tuple(entry["bits"])})


def lane_words(codes: Codes, bits: int, width: int, align: str) -> Codes:
    """Codes (..., lanes) as words of a port `width` bits wide, in two's complement.

    >>> lane_words(np.array([[-1, 1]]), 2, 8, "msb").tolist(), 0b0100_1100
    ([76], 76)
    """
    lanes = codes.shape[-1]
    lane = width // lanes
    shift = lane - bits if align == "msb" else 0
    placed = (codes << shift) & ((1 << lane) - 1)
    words: Codes = (placed << (lane * np.arange(lanes))).sum(-1)
    return words


@dataclass(frozen=True)
class Point:
    """One mode of a MAC: its bits, and whether activations are signed."""

    mac: OwnMac
    bits: int
    a_signed: bool

    def constants(self) -> dict[str, int]:
        """The ports that stand still, with their values."""
        switch = self.mac.signed not in ("", ALWAYS)
        port = {self.mac.signed: int(self.a_signed)} if switch else {}
        return self.mac.hold | port

    def case(self, netlist: Netlist) -> dict[str, int]:
        """The same pin by pin, for case analysis."""
        return {
            f"{port}[{i}]" if len(netlist.inputs[port]) > 1 else port: value >> i & 1
            for port, value in self.constants().items()
            for i in range(len(netlist.inputs[port]))
        }

    def words(self, netlist: Netlist, rng: np.random.Generator, streams: int) -> dict[str, Codes]:
        """Uniform codes on the operands' ports, a new sum every 64 cycles; (cycles, streams)."""
        mac, shape = self.mac, (WARMUP + CYCLES, streams)
        each = (*shape, mac.lanes)
        w = stimulus.weights(rng, "uniform", self.bits, each)
        a = stimulus.activations(rng, "uniform", self.bits, each, signed=self.a_signed)
        made = {
            port: lane_words(codes, self.bits, len(netlist.inputs[port]), mac.align)
            for port, codes in ((mac.weights, w), (mac.activations, a))
        }
        if mac.clear:
            made[mac.clear] = np.zeros(shape, np.int64)
            made[mac.clear][::CYCLES] = 1
        still = self.constants().items()
        return made | {port: np.broadcast_to(np.int64(value), shape) for port, value in still}


def points(mac: OwnMac) -> Iterator[Point]:
    """Every precision with unsigned activations, and with signed ones where there can be."""
    for bits in mac.bits:
        for signed in (False, True) if mac.signed else (False,):
            yield Point(mac, bits, signed)


def check_ports(mac: OwnMac, netlist: Netlist, data: set[str]) -> None:
    """Refuse ports that are not there, not driven, or too narrow for the codes."""
    if unknown := sorted(mac.driven - data):
        raise FlowError(
            f"{netlist.top} has no data input {unknown[0]}; it has {', '.join(sorted(data))}."
        )
    if left := sorted(data - mac.driven):
        raise FlowError(f"{netlist.top}: nothing is said of input {left[0]}; put it into hold.")
    for port in (mac.weights, mac.activations):
        lane = len(netlist.inputs[port]) // mac.lanes
        if lane < max(mac.bits):
            raise FlowError(
                f"{netlist.top}: a lane of port {port} has {lane} bits, too few for codes of "
                f"{max(mac.bits)}."
            )
    for port, value in mac.hold.items():
        width = len(netlist.inputs[port])
        check_codes(port, np.array([value]), 0, (1 << width) - 1, f"port {port}")
