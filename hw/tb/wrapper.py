"""The Verilog around MACs under test: operands from a file, accumulators to a file.

A bench that crosses into Python at every clock edge runs some thousand cycles a second; one that
streams through files inside the simulator runs hundreds of thousands. Several MACs share a top and
so a build; each has a clock of its own, which stands still while another is tested.
"""

from __future__ import annotations

from collections.abc import Sequence

from hw.rtl.spec import MacSpec

TOP = "bench"
# Only these are visible to cocotb: visible nets could not be optimized away.
PUBLIC = "/*verilator public_flat_rw*/"


def input_ports(spec: MacSpec) -> dict[str, int]:
    """Width of every input but the clock, in the order of a stimulus word, lowest first."""
    ports = {"w": spec.w_width, "a": spec.a_width, "a_signed": 1, "en": 1, "clear": 1}
    if spec.scalable:
        ports["w_bits"] = (spec.w_width - 1).bit_length()
        ports["a_bits"] = (spec.a_width - 1).bit_length()
    if spec.subword:
        ports["lanes"] = (len(spec.lane_counts) - 1).bit_length()
    return {name: width for name, width in ports.items() if width}


def padded(bits: int) -> int:
    """Bits of a file's record: whole 32-bit words."""
    return -(-bits // 32) * 32


def bench(specs: Sequence[MacSpec]) -> str:
    """Top of the MACs: `chosen` selects one, a rising `go` starts it, `finished` tells its end.

    Plusargs: `stimulus` is a file of big-endian records, one a cycle; `result` gets a record of
    32-bit words, lowest first, in the machine's byte order, after every clock edge.
    """
    units = "\n".join(
        f"  wire finished{n};\n"
        f"  bench_{spec.name} unit{n}(.go(go && chosen == {n}), .finished(finished{n}));"
        for n, spec in enumerate(specs)
    )
    done = " || ".join(f"finished{n}" for n in range(len(specs)))
    top = (
        f"module {TOP}(input go {PUBLIC}, input [7:0] chosen {PUBLIC},\n"
        f"  output finished {PUBLIC});\n{units}\n"
        f"  assign finished = {done};\nendmodule\n"
    )
    return "`timescale 1ns/1ns\n" + "\n".join([*map(_unit, specs), top])


def _unit(spec: MacSpec) -> str:
    """Module that streams one MAC's operands and results."""
    ports, at, pins = input_ports(spec), 0, []
    for name, width in ports.items():
        pins.append(f".{name}(word[{at} +: {width}])")
        at += width
    record, result = padded(at), padded(spec.acc_width)
    return f"""\
module bench_{spec.name}(input go, output reg finished);
  reg clk = 1;
  reg [{record - 1}:0] data = 0, word = 0;
  wire [{spec.acc_width - 1}:0] acc;
  reg [{result - 1}:0] padded;
  reg [8*512-1:0] stimulus, results;
  integer source, sink, got;
  initial finished = 0;
  {spec.name} dut(.clk(clk), {", ".join(pins)}, .acc(acc));
  // Through the unit's own clock: the simulator evaluates all MACs where a delay sets their inputs.
  always @(negedge clk) word <= data;
  always @(posedge go) begin
    if (!$value$plusargs("stimulus=%s", stimulus)) $fatal(1, "no stimulus");
    if (!$value$plusargs("result=%s", results)) $fatal(1, "no result");
    source = $fopen(stimulus, "rb");
    sink = $fopen(results, "wb");
    got = $fread(data, source);
    while (got == {record // 8}) begin
      #1 clk = 0;
      #1 clk = 1;
      #1 padded = 0;
      padded[{spec.acc_width - 1}:0] = acc;
      $fwrite(sink, "%u", padded);
      got = $fread(data, source);
    end
    $fclose(source);
    $fclose(sink);
    finished = 1;
  end
endmodule
"""
