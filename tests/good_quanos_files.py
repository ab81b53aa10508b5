"""Small good files of the trainer's formats, and how a changed one is packed anew."""

import io
import json
import struct
import tarfile
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import safetensors.torch
import torch

from quanos import config
from quanos.integer import program
from quanos.integer.graph import trace
from quanos.layers import get_bits, quantize
from quanos.models import build_model
from quanos.storage import checkpoint


def as_json(content: Any) -> bytes:
    """JSON in ASCII: lone surrogates stay escapes."""
    return json.dumps(content).encode()


IDX = struct.pack(">BBBBII", 0, 0, 8, 2, 3, 4) + bytes(12)
CIFAR = b"".join(bytes([label]) + bytes(3072) for label in (3, 9))


def tar(name: str = "deep/a.bin", kind: bytes = tarfile.REGTYPE, content: bytes = CIFAR) -> bytes:
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as archive:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        info.size = len(content) if kind == tarfile.REGTYPE else 0
        archive.addfile(info, io.BytesIO(content))
    return raw.getvalue()


def _network() -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    torch.manual_seed(0)
    model = quantize(build_model("vgg-small", (1, 4, 4), 2), 8)
    keys = asdict(config.Config(model="vgg-small"))
    meta = {"config": keys, "input_shape": [1, 4, 4], "classes": 2, "bits": get_bits(model)}
    return {f"model.{n}": t for n, t in model.state_dict().items()}, meta


TENSORS, META = _network()


def as_checkpoint(meta: Any) -> bytes:
    """A network's checkpoint with this metadata."""
    head = json.dumps({"schema": checkpoint.SCHEMA} | meta if isinstance(meta, dict) else meta)
    return safetensors.torch.save(TENSORS, metadata={"quanos": head})


def small_checkpoint(path: Path, shard_mb: float = 0) -> bytes:
    """A checkpoint of one tensor, or its index with the parts beside it."""
    checkpoint.save(path, {"model.w": torch.arange(4000.0)}, {"epoch": 3}, shard_mb=shard_mb)
    return path.read_bytes()


def _program() -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    model = quantize(build_model("vgg-small", (1, 4, 4), 2), 8)
    model(torch.rand(4, 1, 4, 4))  # the ranges of its activations
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "integers"
        program.save(path, program.lower(trace(model.eval()), (1, 4, 4)))
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, json.loads(file.metadata()["quanos"])


ARRAYS, HEAD = _program()


def as_program(head: Any) -> bytes:
    """An export with this description of its operations."""
    return safetensors.numpy.save(ARRAYS, metadata={"quanos": json.dumps(head)})
