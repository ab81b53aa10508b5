"""Checkpoints: tensors in safetensors with one JSON text beside them, whole or not there at all.

The JSON (key `quanos` of the file's metadata) makes a checkpoint self-describing: `schema`,
`config` (the run's), `input_shape`, `classes`, `epoch` (epochs completed), `step` (steps of the
epoch under way), `bits` by layer and `rounds`, a list of {epoch, ans, bits} with what was sensed
and assigned. Tensors are named `model.*`, `optimizer.*` and `partial.*` (sums of the epoch under
way). A checkpoint may be split into parts below a size; see `quanos.storage.shards`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from quanos.layers import quantize, set_bits
from quanos.models import MODELS, UnknownModelError, build_model
from quanos.storage.shards import ShardError, read_bytes, write_bytes

SCHEMA = "quanos.checkpoint/1"
NAME = "checkpoint.safetensors"


class CheckpointError(ValueError):
    """A checkpoint that is damaged, foreign or of another run."""


def save(
    path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any], *, shard_mb: float = 0
) -> None:
    """Write a checkpoint beside its place, then rename it: a kill leaves the old one whole.

    With `shard_mb` above zero, no file of it is larger than that many megabytes (1e6 bytes).
    """
    text = json.dumps({"schema": SCHEMA, **meta})
    whole = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    write_bytes(path, save_tensors(whole, metadata={"quanos": text}), int(shard_mb * 1e6))


def load(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors (on the CPU) and metadata of a checkpoint, split or not.

    Raises CheckpointError for a file that is missing, truncated or not written by `save`.
    """
    try:
        raw = read_bytes(path)
        tensors = load_tensors(raw)
        meta = json.loads(_metadata(raw).get("quanos", "null"))
    except FileNotFoundError:
        raise CheckpointError(
            f"there is no checkpoint {path}; name a run folder that quanos train made, or the "
            f"{NAME} in it."
        ) from None
    except (SafetensorError, ShardError, OSError, ValueError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is damaged or no checkpoint ({error}); train it anew, or name another one."
        ) from None
    if not isinstance(meta, dict) or meta.get("schema") != SCHEMA:
        raise CheckpointError(f"{path} is no checkpoint of this version ({SCHEMA}).")
    return tensors, meta


def _metadata(raw: bytes) -> dict[str, str]:
    """The free text of a safetensors file: its header is JSON behind its length in 8 bytes."""
    length = int.from_bytes(raw[:8], "little")
    header: dict[str, dict[str, str]] = json.loads(raw[8 : 8 + length])
    return header.get("__metadata__", {})


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
        weights = part(tensors, "model")
        if meta["config"]["model"] in MODELS:  # whatever the metadata asks for takes no memory yet
            with torch.device("meta"):
                _check_weights(_network(meta).state_dict(), weights)
        model = _network(meta)
        _check_weights(model.state_dict(), weights)
        model.load_state_dict(weights)
        set_bits(model, meta["bits"])
    except UnknownModelError as error:
        raise CheckpointError(f"checkpoint {path}: {error}") from None
    except (KeyError, TypeError, AttributeError, ValueError, RuntimeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error).splitlines()[0]
        raise CheckpointError(
            f"checkpoint {path} does not fit its network ({reason.rstrip('.')}); give the "
            "network the code that it was trained with, or train it anew."
        ) from None
    return model.eval(), meta


LARGEST_SIZE = 1 << 16
"""Of an image's side, its channels and the classes: far above what the zoo is for."""


def _network(meta: Mapping[str, Any]) -> nn.Module:
    """The quantized network that the metadata describes, with fresh weights."""
    shape, classes = tuple(meta["input_shape"]), meta["classes"]
    if not all(type(size) is int and size <= LARGEST_SIZE for size in (*shape, classes)):
        raise ValueError(f"images {shape} and {classes} classes are not whole numbers in range")
    config = meta["config"]
    network = build_model(config["model"], input_shape=shape, classes=classes)
    layers = [n for n, m in network.named_modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    floats = tuple(name for name in layers if name not in meta["bits"])
    return quantize(network, 16, quantizer=config["quantizer"], classifier=True, keep_float=floats)


def _check_weights(wanted: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> None:
    """ValueError where names, shapes or types differ."""
    ours, theirs = ({n: (t.shape, t.dtype) for n, t in w.items()} for w in (wanted, found))
    if different := sorted(n for n in ours | theirs if ours.get(n) != theirs.get(n)):
        raise ValueError(f"{different[0]} is missing, not known or of another shape or type")
