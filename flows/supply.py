"""Delay and energy at other supplies than the library's: alpha-power law and V squared.

Sakurai and Newton's law (IEEE JSSC 25, 1990): delay ~ V / (V - Vt)^alpha. The 45 nm library has
three corners, and each moves process, supply and temperature at once: slow (0.95 V, 125 C), typical
(1.1 V, 25 C), fast (1.25 V, 0 C). They cannot tell the supply's part from the process's: alpha 1.3
and Vt 0.45 V, customary for a 45 nm bulk process, are assumed; what is fitted is one threshold
shift between the corners (plus in slow, minus in fast), with mobility falling as T^-1.5. That fits
both corners to within `FIT_ERROR`, but so do other thresholds with another shift: take Vt +-0.1 V
as the uncertainty. Nothing below 0.95 V is covered by any corner.

`python -m flows.supply SLOW.lib TYPICAL.lib FAST.lib` repeats the fit.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from flows import console
from flows.console import FlowError
from flows.library import EDGES, Library
from hw.command import Parser

NOMINAL_V = 1.0  # the paper's supply
LOWEST_V = 0.8  # the end of its range
MOBILITY_EXPONENT = 1.5
ZERO_C = 273.15  # K
CHAIN_CELLS = ("INV_X1", "NAND2_X1", "NOR2_X1", "AOI21_X1", "OAI21_X1", "XOR2_X1")


@dataclass(frozen=True, kw_only=True)
class SupplyLaw:
    """delay ~ V / (V - vt_v)^alpha and energy ~ V^2; both relative to another supply."""

    vt_v: float = 0.45
    alpha: float = 1.3

    def delay_ratio(self, vdd_v: float, from_v: float) -> float:
        """Delay at `vdd_v` relative to that at `from_v`."""
        return self._delay(vdd_v) / self._delay(from_v)

    def _delay(self, vdd_v: float) -> float:
        if vdd_v <= self.vt_v:
            raise FlowError(
                f"a supply of {vdd_v:g} V is not above the threshold of {self.vt_v:g} V; "
                "the delay law holds above it only."
            )
        return float(vdd_v / (vdd_v - self.vt_v) ** self.alpha)

    @staticmethod
    def energy_ratio(vdd_v: float, from_v: float) -> float:
        """Energy at `vdd_v` relative to that at `from_v`."""
        return (vdd_v / from_v) ** 2

    def lowest_supply(
        self,
        path_ps: float,
        clock_ps: float,
        *,
        v_min: float = LOWEST_V,
        v_nominal: float = NOMINAL_V,
    ) -> float:
        """The lowest supply from `v_min` to `v_nominal` at which the path still fits the clock.

        In steps of 0.1 mV, rounded up, so that the path does fit. `path_ps` is the longest path at
        `v_nominal`; FlowError where it does not fit even there.
        """
        self.check_lowest(v_min, v_nominal)
        if path_ps > clock_ps * (1 + 1e-9):
            raise FlowError(
                f"a path of {path_ps:.1f} ps does not fit a clock of {clock_ps:.1f} ps at "
                f"{v_nominal:g} V; give a longer clock."
            )
        if path_ps * self.delay_ratio(v_min, v_nominal) <= clock_ps:
            return v_min
        low, high = v_min, v_nominal
        while high - low > 1e-9:
            middle = (low + high) / 2
            fits = path_ps * self.delay_ratio(middle, v_nominal) <= clock_ps
            low, high = (low, middle) if fits else (middle, high)
        return min(math.ceil(high * 1e4) / 1e4, v_nominal)

    def check_lowest(self, v_min: float, v_nominal: float = NOMINAL_V) -> None:
        """Refuse (FlowError) an end of the supply's range at which nothing runs."""
        if not self.vt_v < v_min <= v_nominal:
            raise FlowError(
                f"the lowest supply must lie above {self.vt_v:g} V and not above "
                f"{v_nominal:g} V, not at {v_min:g} V."
            )

    def describe(self) -> str:
        """The law in one line, for the header of a table."""
        return (
            f"delay ~ V/(V-{self.vt_v:g})^{self.alpha:g} (assumed; corner shift fitted, worst "
            f"corner error {FIT_ERROR:.1%}), energy ~ V^2"
        )


FIT_ERROR = 0.006  # worst relative error at a corner, by `python -m flows.supply`
LAW = SupplyLaw()


def chain_delay_ps(library: Library) -> float:
    """Mean delay of a stage in chains of one cell each, fan-out of four, rise and fall.

    Slews are those that such a chain settles at. Cells of `CHAIN_CELLS`, first input.
    """
    return sum(_stage_ps(library, name) for name in CHAIN_CELLS) / len(CHAIN_CELLS)


def _stage_ps(library: Library, name: str) -> float:
    if name not in library.cells:
        raise FlowError(f"library {library.name} has no cell {name}, which the fit measures.")
    cell = library.cells[name]
    pin = cell.inputs[0]
    load = 4 * cell.pins[pin].capacitance_ff
    arcs = [a for a in cell.arcs if a.related_pin == pin and a.sense != "positive_unate"]
    slews = [20.0, 20.0]
    delays = [0.0, 0.0]
    for _ in range(20):
        before = tuple(slews)
        for k, edge in enumerate(EDGES):
            tables = [t for a in arcs if (t := a.tables(edge))]
            delays[k] = max(delay.at(before[1 - k], load) for delay, _ in tables)
            slews[k] = max(slew.at(before[1 - k], load) for _, slew in tables)
    return sum(delays) / 2


@dataclass(frozen=True, kw_only=True)
class CornerFit:
    """Measured and modelled delay of the slow and fast corners relative to the typical one."""

    shift_v: float
    measured: tuple[float, float]
    modelled: tuple[float, float]

    @property
    def error(self) -> float:
        """Worst relative error at a corner."""
        return max(abs(m / t - 1) for m, t in zip(self.modelled, self.measured, strict=True))


def fit_corners(slow: Library, typical: Library, fast: Library, law: SupplyLaw = LAW) -> CornerFit:
    """The one threshold shift that brings the law closest to both corners (least log squares)."""
    base = chain_delay_ps(typical)
    measured = (chain_delay_ps(slow) / base, chain_delay_ps(fast) / base)

    def model(shift: float) -> tuple[float, float]:
        return _corner(law, slow, typical, shift), _corner(law, fast, typical, -shift)

    def cost(shift: float) -> float:
        pairs = zip(model(shift), measured, strict=True)
        return sum(math.log(m / t) ** 2 for m, t in pairs)

    steps = [k / 1000 for k in range(round((slow.vdd_v - law.vt_v) * 1000) - 1)]
    shift = min(steps, key=cost)
    return CornerFit(shift_v=shift, measured=measured, modelled=model(shift))


def _corner(law: SupplyLaw, corner: Library, typical: Library, shift: float) -> float:
    kelvin = (corner.temperature_c + ZERO_C) / (typical.temperature_c + ZERO_C)
    moved = SupplyLaw(vt_v=law.vt_v + shift, alpha=law.alpha)
    drive = moved._delay(corner.vdd_v) / law._delay(typical.vdd_v)
    return float(kelvin**MOBILITY_EXPONENT * drive)


def main() -> int:
    """Fit the delay law to three corners and print it."""
    parser = Parser("python -m flows.supply", __doc__)
    for name in ("slow", "typical", "fast"):
        parser.add_argument(name, type=Path, metavar=f"{name.upper()}.lib")
    parser.add_argument("--vt", type=float, default=LAW.vt_v, help="threshold in V")
    parser.add_argument("--alpha", type=float, default=LAW.alpha)
    parser.add_json()
    arguments = parser.parse_args()
    law = SupplyLaw(vt_v=arguments.vt, alpha=arguments.alpha)
    fit = fit_corners(
        Library.load(arguments.slow),
        Library.load(arguments.typical),
        Library.load(arguments.fast),
        law,
    )
    if arguments.json:
        ratio = law.delay_ratio(0.8, 1.0)
        console.print_json(asdict(law) | asdict(fit) | {"error": fit.error, "delay_at_0.8": ratio})
        return 0
    print(
        f"Vt {law.vt_v:g} V, alpha {law.alpha:g}: threshold shift of the corners {fit.shift_v:g} V"
    )
    for name, measured, modelled in zip(("slow", "fast"), fit.measured, fit.modelled, strict=True):
        print(f"{name}: {measured:.3f} times the typical delay, the law says {modelled:.3f}")
    print(f"worst error {fit.error:.1%}; delay at 0.8 V: {law.delay_ratio(0.8, 1.0):.3f} of 1.0 V")
    return 0


if __name__ == "__main__":
    console.run(main)
