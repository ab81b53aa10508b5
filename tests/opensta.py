"""Ask OpenSTA about a netlist: the constraints are those of `flows.timing.Conditions`."""

import gzip
import re
import shutil
import subprocess

from flows.gates import case

STA = shutil.which("sta")
HEAD = """
read_liberty {liberty}
read_verilog {verilog}
link_design {top}
set_cmd_units -time ns -capacitance fF
create_clock -name clk -period 2.0 [get_ports clk]
set_input_delay 0 -clock clk [all_inputs]
set_output_delay 0 -clock clk [all_outputs]
set_input_transition 0.02 [all_inputs]
set_clock_transition 0.02 [get_clocks clk]
set_load -pin_load 2.0 [all_outputs]
{body}
exit
"""


def session(library, verilog, top, folder):
    """A function that gives OpenSTA's report on some commands."""
    text = library.path.read_bytes()
    if library.path.suffix == ".gz":
        text = gzip.decompress(text)
    liberty = folder / "opensta.lib"
    liberty.write_bytes(re.sub(rb"default_wire_load .*", b"", text))  # ours has none by default

    def run(*body):
        script = folder / "sta.tcl"
        script.write_text(
            HEAD.format(liberty=liberty, verilog=verilog, top=top, body="\n".join(body))
        )
        command = [STA, "-exit", script]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    return run


def quoted(name):
    return re.sub(r"([\[\]])", r"\\\1", name)


def held_pins(netlist, library, held):
    """(value, pin) of the ports `held` and what follows from them at the registers' outputs,
    since OpenSTA does not pass constants through registers."""
    for port, value in held.items():
        yield value, f"[get_ports {{{port}}}]"
    states = case.states(netlist, library, held)
    for instance in netlist.instances:
        for pin in ("Q", "QN"):
            if library.cells[instance.cell].register and pin in instance.pins:
                state = states[instance.pins[pin]]
                if state is not None:
                    yield state, f"[get_pins {{{quoted(instance.name)}/{pin}}}]"


LONGEST = "report_checks -path_delay max -digits 5"


def longest_paths_ps(report):
    """Setup times included, one for every `LONGEST` in the report."""
    paths = []
    for part in report.split("Startpoint:")[1:]:
        arrival = float(re.search(r"([\d.]+) +data arrival time", part)[1])
        setup = re.search(r"-([\d.]+) +[\d.]+ +library setup time", part)
        paths.append(1000 * (arrival + (float(setup[1]) if setup else 0.0)))
    return paths
