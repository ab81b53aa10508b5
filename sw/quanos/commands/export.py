"""`quanos export`: a trained network's integers for the hardware, and as QONNX."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tyro

from quanos.cli import print_json

if TYPE_CHECKING:
    from torch import nn

    from quanos.config import Config
    from quanos.export import Agreement
    from quanos.integer.program import Program


@dataclass(frozen=True, kw_only=True)
class Export:
    """Write codes, scales and integer requantization of a network, and hold them to the trainer.

    Example: quanos export runs/digits --out build/export --operands 10
    """

    network: tyro.conf.Positional[Path]
    """Run folder or checkpoint."""
    out: Path = Path("build/export")
    """Folder to write integers.safetensors, network.onnx and export.json into."""
    check: int = 1000
    """Images on which integers and trainer are compared, code by code; 0: none. Those of the test
    split come first, then those of the training split."""
    operands: int = 0
    """Test images whose operands, layer by layer, are written as layers/*.npz for python -m
    flows.network, flows.tiling and hw.tb.network."""
    onnx: bool = True
    """Write no network.onnx (QONNX), which needs the package onnx."""
    data_dir: Path | None = None
    """Folder of the data set's files; without it the run's."""
    json: bool = False
    """Print one JSON object and nothing else."""

    def run(self) -> None:
        """Write the files and print how far trainer and integers agree."""
        from quanos import export
        from quanos.config import override
        from quanos.integer.graph import trace
        from quanos.integer.program import lower, save
        from quanos.run import write_json
        from quanos.storage.checkpoint import load_network

        if self.check < 0 or self.operands < 0:
            raise ValueError("--check and --operands count images: 0 or more.")
        model, meta = load_network(self.network)
        given = {"data_dir": str(self.data_dir)} if self.data_dir else {}
        config = override(meta["config"] | given, "command line")
        operations = trace(model)
        program = lower(operations, meta["input_shape"])
        self.out.mkdir(parents=True, exist_ok=True)
        save(self.out / "integers.safetensors", program, {"network": config.model})
        if self.onnx:
            from quanos.integer import qonnx

            network = qonnx.to_qonnx(operations, meta["input_shape"], name=config.model)
            qonnx.save(self.out / "network.onnx", network)
        agreement = self._on_images(model, program, config) if self.check or self.operands else None
        result: dict[str, Any] = export.describe(program, agreement) | {
            "model": config.model,
            "classes": meta["classes"],
        }
        write_json(self.out / "export.json", result)
        if self.json:
            print_json(result)
        else:
            print(_text(result))

    def _on_images(self, model: nn.Module, program: Program, config: Config) -> Agreement | None:
        """How far integers and trainer agree; writes the layers' operands where asked for."""
        from quanos import export
        from quanos.data import load_dataset

        data = load_dataset(config.dataset, config.data_path)
        agreement = None
        if self.check:
            agreement = export.compare(model, program, data.some_images(self.check))
        if self.operands:
            images, layers = data.some_images(self.operands), self.out / "layers"
            export.write_operands(program, images.numpy(), layers)
            export.write_head(program, model, images, layers / "head.npz")
        return agreement


def _text(result: dict[str, Any]) -> str:
    """The layers, and a line on the agreement."""
    found = result["agreement"]
    rows = {row["name"]: row for row in found["layers"]} if found else {}
    lines = [
        f"{'layer':28} {'bits':>4} {'weights':>9} {'sum bits':>8}  activation codes that differ"
    ]
    for layer in result["layers"]:
        row = rows.get(layer["name"])
        differ = f"{row['different']} of {row['codes']}" if row else "not checked"
        lines.append(
            f"{layer['name']:28} {layer['bits']:>4} {layer['weights']:>9} {layer['sum_bits']:>8}  "
            f"{differ}"
        )
    if found:
        verdict = "equal at every layer" if found["exact"] else "differ where float32 rounds"
        lines.append(
            f"{found['images']} images: codes {verdict}; same class for {found['same_class']}, "
            f"logits within {found['largest_logit_error']:.1e}"
        )
    return "\n".join(lines)
