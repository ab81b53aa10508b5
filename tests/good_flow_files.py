"""Small good files of the formats of hardware and flow, and how a changed one is packed anew."""

import contextlib
import hashlib
import io
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from test_flows_netlist import CHAIN, LIBRARY, module
from test_flows_table import HEADER, ROW, change

from flows.netlist import Netlist
from flows.simulator.saif import write_saif
from flows.table import EnergyTable


@contextmanager
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
    with contextlib.suppress(ValueError):  # ragged
        array = np.asarray(value)
        if array.ndim <= PICKLED_AXES or not array.dtype.hasobject:
            return array
    return np.asarray([value, None], dtype=object)


PICKLED_AXES = 32
"""Most that pickle takes of an array of objects, which may have 64."""
