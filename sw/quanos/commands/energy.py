"""`quanos energy`: what one image costs a network of the zoo, at given bits."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from flows.table import EnergyTable
from quanos.cli import print_json

if TYPE_CHECKING:
    from quanos.energy import ModelEnergy


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy and weight memory of one image's forward pass (Table I, Eq. 4 and 5 of the paper).

    Networks: vgg11, vgg13, vgg16, vgg19, vgg-small, resnet18, resnet34, resnet50, resnet-small,
    mobilenetv2. The classifier is not counted; residual shortcuts are.

    Example: quanos energy --model vgg19 --input 3 32 32 --bits 8 --scheme dvafs
    """

    model: str
    """Network: one of those above, or one that quanos --import MODULE registers."""
    input: tuple[int, int, int]
    """Channels, height and width of an image."""
    bits: str
    """Bits of every layer, 1 to 16, or a JSON file: {layer: bits}, a list with one width per layer
    in forward order (shortcuts may be left out), or an object with either under "bits"."""
    scheme: Literal["standard", "fixed", "dg", "dvafs", "dvafs_st"] = "standard"
    """MAC: the paper's linear law (standard, needs no table), conventional (fixed), data-gated
    (dg), or subword-parallel with products apart (dvafs) or summed together (dvafs_st)."""
    reading: Literal["paper", "measured"] = "measured"
    """Eq. 5 as printed (the linear law times the energy relative to the conventional 16-bit MAC),
    or the measured energy of each MAC. Does not touch scheme standard."""
    table: Path | None = None
    """Energy table; without it the one that ships with the package."""
    stimulus: str = "uniform"
    """Operands that the table's rows were measured with, uniform in the table that ships; layers
    whose input can be negative take the rows of the name with _signed."""
    supply: Literal["nominal", "scaled"] = "nominal"
    """Supply voltage: nominal, or the lowest that keeps the throughput."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Price the network and print it."""
        table = None if self.scheme == "standard" else EnergyTable.load(self.table)
        result = self._price(read_bits(self.bits), table)
        setting: dict[str, Any] = {
            "model": self.model,
            "input": list(self.input),
            "scheme": self.scheme,
            "reading": self.reading,
            "stimulus": self.stimulus,
            "supply": self.supply,
            "table_sha256": table.sha256 if table else None,
        }
        if self.json:
            layers = [asdict(layer) | {"energy_uj": layer.energy_uj} for layer in result.layers]
            print_json(asdict(result) | {"layers": layers} | setting)
        else:
            print_table(result, f"{self.model}, scheme {self.scheme}, reading {self.reading}")

    def _price(self, bits: Any, table: EnergyTable | None) -> ModelEnergy:
        from quanos.energy import model_energy
        from quanos.models import skeleton

        return model_energy(
            skeleton(self.model, self.input, 10),
            self.input,
            bits,
            scheme=self.scheme,
            reading=self.reading,
            table=table,
            stimulus=self.stimulus,
            supply=self.supply,
        )


def read_bits(text: str) -> int | dict[str, int] | list[int]:
    """Bits as a number or from a JSON file. Raises ValueError for what is neither."""
    if text.lstrip("+-").isdigit():
        return int(text)
    path = Path(text)
    if not path.exists():
        raise ValueError(f"--bits {text!r} is neither a number from 1 to 16 nor a file.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{text} is not a JSON file ({error}).") from None
    if isinstance(data, dict) and isinstance(data.get("bits"), dict | list):
        data = data["bits"]
    if not isinstance(data, dict | list) or not data:
        raise ValueError(f"{text} holds no bits; give {{layer: bits}} or a list of widths.")
    return data


def print_table(result: ModelEnergy, title: str) -> None:
    """Layers and totals as a table on standard output."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, show_footer=True)
    table.add_column("layer", "all")
    table.add_column("bits", f"{result.mean_bits:.2f}", justify="right")
    table.add_column("MACs (M)", f"{result.macs / 1e6:.2f}", justify="right")
    table.add_column("memory (Mbit)", f"{result.memory_gbit * 1e3:.3f}", justify="right")
    table.add_column("energy (uJ)", f"{result.energy_mj * 1e3:.3f}", justify="right")
    for layer in result.layers:
        numbers = (layer.macs / 1e6, layer.memory_bits / 1e6, layer.energy_uj)
        cells = (f"{n:.{d}f}" for n, d in zip(numbers, (2, 3, 3), strict=True))
        table.add_row(layer.name, str(layer.bits), *cells)
    console = Console()
    console.print(table)
    console.print(f"{result.energy_mj:.4f} mJ, {result.memory_gbit:.4f} Gbit", highlight=False)
