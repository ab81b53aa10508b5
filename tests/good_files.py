"""Small good files of every format that the project reads, and how a changed one is packed anew."""

import contextlib
import hashlib
import io
import json
import struct
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
import torch
from test_flows_netlist import CHAIN, module
from test_flows_table import HEADER, ROW, change

from flows.library import Library
from flows.netlist import Netlist
from flows.saif import write_saif
from flows.table import EnergyTable
from quanos import checkpoint, config, integers
from quanos.graph import trace
from quanos.layers import quantize
from quanos.models import build_model

LIBRARY = Library.load()


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """A path in a folder that is removed at the end."""
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "file"


def as_json(content: Any) -> bytes:
    """JSON in ASCII: lone surrogates stay escapes."""
    return json.dumps(content).encode()


def table() -> dict[str, Any]:
    with scratch() as path:
        EnergyTable(HEADER, (ROW, change(w_bits=4), change(supply="scaled"))).save(path)
        return json.loads(path.read_text())


def as_table(tree: Any) -> bytes:
    """A table with the hash that belongs to it, as one who knows the format would forge it."""
    if isinstance(tree, dict):
        content = {key: tree.get(key) for key in ("header", "rows")}
        canonical = json.dumps(content, sort_keys=True, separators=(",", ":"))
        tree["sha256"] = hashlib.sha256(canonical.encode()).hexdigest()
    return as_json(tree)


LIBERTY = b"""library (small) {
  delay_model : table_lookup; time_unit : "1ns"; voltage_unit : "1V"; nom_voltage : 1.1;
  leakage_power_unit : "1nW"; capacitive_load_unit (1, ff); nom_temperature : 25;
  slew_lower_threshold_pct_rise : 30; default_max_transition : 0.2;
  lu_table_template (t) { variable_1 : input_net_transition;
    variable_2 : total_output_net_capacitance; index_1 ("0.1, 0.2"); index_2 ("1, 2"); }
  wire_load ("w") { capacitance : 1.5; slope : 2; fanout_length (1, 1.3); fanout_length (2, 2.6); }
  default_wire_load : "w";
  operating_conditions (typical) { voltage : 1.1; temperature : 25; }
  default_operating_conditions : typical;
  cell (NAND2_X1) { area : 0.8; cell_leakage_power : 17.4; dont_use : false;
    leakage_power () { when : "!A1 & A2"; value : 3.5; }
    pin (A1) { direction : input; capacitance : 1.6; rise_capacitance : 1.6; }
    pin (A2) { direction : input; capacitance : 1.6; }
    pin (ZN) { direction : output; function : "!(A1 & A2)"; max_capacitance : 60;
      timing () { related_pin : "A1"; timing_sense : negative_unate; when : "A2";
        cell_rise (t) { values ("0.01, 0.02", "0.03, 0.04"); }
        rise_transition (t) { index_1 ("0.1, 0.3"); values ("0.01, 0.02", "0.03, 0.04"); } }
      internal_power () { related_pin : "A1"; rise_power (t) { values ("1, 2", "3, 4"); } } } }
  cell (DFF_X1) { area : 4.5; ff (IQ, IQN) { clocked_on : "CK"; next_state : "D"; clear : "!R"; }
    pin (CK) { direction : input; clock : true; } pin (R) { direction : input; }
    pin (D) { direction : input; timing () { related_pin : "CK"; timing_type : setup_rising;
      rise_constraint (t) { values ("1, 2", "3, 4"); } } }
    pin (Q) { direction : output; function : "IQ";
      timing () { related_pin : "CK"; timing_type : rising_edge;
        cell_rise (scalar) { values ("1"); } } } }
  cell (GATE_X1) { clock_gating_integrated_cell : "latch_posedge";
    pin (CK) { direction : input; clock_gate_clock_pin : true; }
    pin (E) { direction : input; clock_gate_enable_pin : true; }
    pin (GCK) { direction : output; clock_gate_out_pin : true; } }
}
"""


def netlist(path: Path) -> Netlist:
    path.write_bytes(as_json(module(CHAIN)))
    return Netlist.load(path, LIBRARY)


with scratch() as place:
    NETLIST = netlist(place)


def saif() -> bytes:
    ones = np.ones(len(NETLIST.nets))
    with scratch() as path:
        write_saif(path, NETLIST, 1000, 500 * ones, 500 * ones, ones)
        return path.read_bytes()


OPERANDS = {"w": [-7, 0, 3, 7], "a": [0, 255, 3, 9], "w_bits": 4, "a_bits": 8}
LAYER = {
    "a": [[[1, 2], [3, 0], [0, 1]]], "w": [[[1, -1], [0, 1]]], "sums": [[[1, 1], [3, -3], [0, 1]]],
    "bits": 2, "a_signed": 0, "images": 1,
}  # fmt: skip


def as_npz(tree: Any) -> bytes:
    """What numpy.savez writes of it: objects are pickled, which no reader may take."""
    raw = io.BytesIO()
    arrays = tree if isinstance(tree, dict) else {"w": tree}
    names = {
        name: "".join(c for c in str(name)[:50] if c.isascii() and c != "/") for name in arrays
    }
    np.savez_compressed(raw, **{names[n]: _array(v) for n, v in arrays.items() if n != "file"})
    return raw.getvalue()


def _array(value: Any) -> np.ndarray:
    try:
        return np.asarray(value)
    except ValueError:  # ragged
        return np.asarray([value, None], dtype=object)


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
    meta = {"config": keys, "input_shape": [1, 4, 4], "classes": 2, "bits": {"features.0": 5}}
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
    with scratch() as path:
        integers.save(path, integers.lower(trace(model.eval()), (1, 4, 4)))
        with safetensors.safe_open(path, framework="np") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return arrays, json.loads(file.metadata()["quanos"])


ARRAYS, HEAD = _program()


def as_program(head: Any) -> bytes:
    """An export with this description of its operations."""
    return safetensors.numpy.save(ARRAYS, metadata={"quanos": json.dumps(head)})
