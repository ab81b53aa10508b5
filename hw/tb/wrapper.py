"""The Verilog around MACs under test: operands from a file, accumulators to a file.

A bench that crosses into Python at every clock edge runs some thousand cycles a second, one that
advances the simulator's time at every edge a hundred thousand; one that streams through files and
runs a block of cycles in a single instant, a million. Several MACs share a top and so a build;
each has a clock of its own, which stands still while another is tested.
"""

from __future__ import annotations

from collections.abc import Sequence

from hw.rtl.spec import MacSpec

TOP = "bench"
BLOCK = 1024  # records read at once, and cycles in one instant
# Only these are visible to cocotb: visible nets could not be optimized away.
PUBLIC = "/*verilator public_flat_rw*/"


def input_ports(spec: MacSpec) -> dict[str, int]:
    """Width of every input but the clock, in the order of a stimulus word, lowest first."""
    ports = {"w": spec.w_width, "a": spec.a_width, "a_signed": 1, "en": 1, "clear": 1}
    return {name: width for name, width in (ports | spec.control_widths).items() if width}


def padded(bits: int) -> int:
    """Bits of a file's record: whole 32-bit words."""
    return -(-bits // 32) * 32


def latency(spec: MacSpec) -> int:
    """Clock edges from a record to its accumulator: the MAC's and that of the record's register."""
    return spec.latency + 1


def bench(specs: Sequence[MacSpec], waves: bool = False, mutant_bits: int = 0) -> str:
    """Top of the MACs: `chosen` selects one, a rising `go` starts it, `finished` tells its end.

    Plusargs: `stimulus` is a file of big-endian records as wide as `data`, one a cycle; `results`
    gets a record of 32-bit words as wide as `acc`, lowest first, in the machine's byte order, after
    every clock edge. With `waves` every edge has an instant of its own. With `mutant_bits` the MACs
    have a port `mutant`, as `flows.mutate` writes them, which `mutant` of the top drives.
    """
    record = max(padded(sum(input_ports(spec).values())) for spec in specs)
    result = max(padded(spec.acc_width) for spec in specs)
    units = "\n".join(
        f"  bench_{spec.name} unit{n}(.clk(clk && chosen == {n}), .data(data),"
        f"{' .mutant(mutant),' if mutant_bits else ''} .acc(accs[{n}]));"
        for n, spec in enumerate(specs)
    )
    top = _TOP.format(
        units=units, last=len(specs) - 1, record=record, result=result, block=BLOCK, public=PUBLIC,
        mutant=max(mutant_bits, 1) - 1, delay="#1 " if waves else "",
    )  # fmt: skip
    modules = [_unit(spec, record, result, mutant_bits) for spec in specs]
    return "`timescale 1ns/1ns\n" + "\n".join([*modules, top])


def _unit(spec: MacSpec, record: int, result: int, mutant_bits: int) -> str:
    """Module with one MAC and the register of its inputs.

    The register is the unit's own, so that no other MAC is evaluated. It changes as the clock
    rises, as a register before the MAC would: a clock gate's latch sees it settled.
    """
    ports, at, pins = input_ports(spec), 0, []
    for name, width in ports.items():
        pins.append(f".{name}(word[{at} +: {width}])")
        at += width
    header = ""
    if mutant_bits:
        header, pins = f"input [{mutant_bits - 1}:0] mutant, ", [*pins, ".mutant(mutant)"]
    return f"""\
module bench_{spec.name}({header}input clk, input [{record - 1}:0] data,
  output [{result - 1}:0] acc);
  reg [{at - 1}:0] word = 0;
  always @(posedge clk) word <= data[{at - 1}:0];
  wire [{spec.acc_width - 1}:0] sum;
  {spec.name} dut(.clk(clk), {", ".join(pins)}, .acc(sum));
  assign acc = sum;
endmodule
"""


_TOP = """\
module bench(input go {public}, input [7:0] chosen {public}, input [{mutant}:0] mutant {public},
  output reg finished {public}, output reg [{record}-1:0] data {public},
  output [{result}-1:0] acc {public});
  reg clk = 0, running = 0, moved = 0;
  reg [{result}-1:0] settled = 0;
  reg [{record}-1:0] block [0:{block}-1];
  wire [{result}-1:0] accs [0:{last}];
  reg [8*512-1:0] stimulus, results;
  integer source, sink, got, records, edges;
  initial finished = 0;
  assign acc = accs[chosen];
{units}
  // The clock drives itself; as it falls, the accumulators of the rise before have settled. They
  // have to stay so until it rises again, or the next record is inverted.
  always @(clk)
    if (clk) begin
      moved = edges != 0 && acc != settled;
      edges = edges + 1;
      data <= {delay}block[edges % {block}];
      clk <= {delay}0;
    end else if (running) begin
      settled = acc;
      $fwrite(sink, "%u", moved ? ~acc : acc);
      if (edges == records) running = 0;
      else clk <= {delay}1;
    end
  always @(posedge go) begin
    finished = 0;
    if (!$value$plusargs("stimulus=%s", stimulus)) $fatal(1, "no stimulus");
    if (!$value$plusargs("result=%s", results)) $fatal(1, "no result");
    source = $fopen(stimulus, "rb");
    sink = $fopen(results, "wb");
    got = $fread(block, source);
    while (got > 0) begin
      records = got / ({record} / 8);
      edges = 0;
      running = 1;
      data = block[0];
      #1 clk <= 1;
      @(negedge running);
      #1 got = $fread(block, source);
    end
    $fclose(source);
    $fclose(sink);
    finished = 1;
  end
endmodule
"""
