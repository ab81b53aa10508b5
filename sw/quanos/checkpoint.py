"""Checkpoints: tensors in safetensors with one JSON text beside them, whole or not there at all.

The JSON (key `quanos` of the file's metadata) makes a checkpoint self-describing: `schema`,
`config` (the run's), `input_shape`, `classes`, `epoch` (epochs completed), `bits` by layer and
`rounds`, a list of {epoch, ans, bits} with what was sensed and assigned. Tensors are named
`model.*` and `optimizer.*`.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from quanos.layers import quantize, set_bits
from quanos.models import build_model

SCHEMA = "quanos.checkpoint/1"
NAME = "checkpoint.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, foreign or of another run."""


def save(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint beside its place, then rename it: a kill leaves the old one whole."""
    text = json.dumps({"schema": SCHEMA, **meta})
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        save_file(whole, beside, metadata={"quanos": text})
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a checkpoint.

    Raises CheckpointError for a file that is missing, truncated or not written by `save`.
    """
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get("quanos", "null")
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        meta = json.loads(text)
    except (SafetensorError, OSError, json.JSONDecodeError) as error:
        raise CheckpointError(
            f"checkpoint {path} is missing or damaged ({error}); remove it, or name another one."
        ) from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise CheckpointError(f"{path} is no checkpoint of this version ({SCHEMA}).")
    return tensors, meta


def part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under `prefix.`, without it."""
    start = f"{prefix}."
    return {n.removeprefix(start): t for n, t in tensors.items() if n.startswith(start)}


def load_network(place: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The quantized network of a checkpoint or run folder, in evaluation mode, and its metadata.

    Raises CheckpointError where it is no whole checkpoint of a network of the zoo.
    """
    path = place / NAME if place.is_dir() else place
    tensors, meta = load(path)
    try:
        model = quantize(
            build_model(
                meta["config"]["model"],
                input_shape=tuple(meta["input_shape"]),
                classes=meta["classes"],
            ),
            16,
            quantizer=meta["config"]["quantizer"],
        )
        model.load_state_dict(part(tensors, "model"))
        set_bits(model, meta["bits"])
    except (KeyError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise CheckpointError(f"checkpoint {path} does not fit its network ({reason}).") from None
    return model.eval(), meta
