"""Spoilt files of hardware and flow: every parser reads them or refuses them in a sentence of its
own that names the file; never another exception, a hang, or memory without bound.
"""

from dataclasses import asdict
from pathlib import Path

import good_flow_files as good
import pytest
from fuzzing import Case, spoil_often
from good_flow_files import NETLIST, as_json
from test_flows_netlist import CHAIN, LIBRARY, module
from test_flows_own_mac import FILE as OWN_MACS

from flows.cells import liberty
from flows.cells.boolean import Function
from flows.console import FlowError
from flows.energy import mac_drive
from flows.gates.netlist_write import to_verilog
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator import code_files
from flows.simulator.saif import read_saif
from flows.table import EnergyTable, TableError
from hw.rtl.layers import read_layer
from hw.rtl.spec import MacSpec
from hw.rtl.verilog import read_spec


def read_liberty(path: Path) -> Library:
    """The library, with every function understood, as synthesis does."""
    library = liberty.read(path.read_bytes(), str(path), "0" * 64)
    for cell in library.cells.values():
        functions = [cell.pins[pin].function for pin in cell.outputs]
        functions += [cell.register.next_state, cell.register.clear] if cell.register else []
        for function in filter(None, functions):
            function.truth_table()
    return library


def read_function(path: Path) -> object:
    """A Boolean function; it has no file in its error, as it stands for a few words in one."""
    try:
        return Function(path.read_text("utf-8", "replace")).truth_table()
    except FlowError as error:
        raise FlowError(f"{path}: {error}") from None


def read_netlist(path: Path) -> str:
    """The netlist, written out again."""
    return to_verilog(Netlist.load(path, LIBRARY))


FUNCTION = b"!(A1 & A2) | B' ^ (C D + 1)"
SPEC = asdict(MacSpec(scheme="dvafs"))
NET = module(CHAIN)


def load_saif(path: Path) -> object:
    """What a file says of a clock of 1 ns."""
    return read_saif(path, NETLIST).activity(NETLIST, 1000.0)


CASES = (
    Case("table", as_json(good.table()), EnergyTable.load, TableError),
    Case("table, forged", good.table(), EnergyTable.load, TableError, good.as_table),
    Case("liberty", good.LIBERTY, read_liberty, FlowError),
    Case("function", FUNCTION, read_function, FlowError),
    Case("netlist", as_json(NET), read_netlist, FlowError),
    Case("netlist, forged", NET, read_netlist, FlowError, as_json),
    Case("saif", good.saif(), load_saif, FlowError),
    Case("stimulus", good.as_npz({"w": [1, 2], "a": [3, 4]}), code_files.load, FlowError),
    Case("operands", good.as_npz(good.OPERANDS), code_files.OperandFile.load, FlowError),
    Case("operands, forged", good.OPERANDS, code_files.OperandFile.load, FlowError, good.as_npz),
    Case("layer", good.as_npz(good.LAYER), read_layer, ValueError),
    Case("layer, forged", good.LAYER, read_layer, ValueError, good.as_npz),
    Case("own macs", OWN_MACS.encode(), mac_drive.read, FlowError),
    Case("mac spec", as_json(SPEC), read_spec, ValueError),
    Case("mac spec, forged", SPEC, read_spec, ValueError, as_json),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_spoilt_file_is_read_or_refused_in_a_sentence(case: Case, tmp_path: Path) -> None:
    spoil_often(case, tmp_path / "file")
