"""The Verilog around systolic arrays under test: a file for each stream, stalls included.

As around MACs (hw.tb.wrapper), beats cross into Python by the batch, as files. A record of an input
stream is the number of cycles to wait before its beat is offered, then the payload; while nothing
is offered the payload is the complement of the next one. A record of `ready` says how to take one
beat of sums. A beat of sums is written with the cycle in which it passed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from hw.rtl.spec import ArraySpec
from hw.tb.wrapper import PUBLIC, TOP, padded

GAP_BITS = 16  # of the longest wait
INPUTS = ("weights", "activations")
FILES = (*INPUTS, "ready", "sums")


def layout(spec: ArraySpec, stream: str) -> Any:
    """The structure of an input stream's payload: `layout[name].offset`, `.width`."""
    from hw.rtl.systolic_array import activations_layout, weights_layout  # a plan needs none

    return {"weights": weights_layout, "activations": activations_layout}[stream](spec)


def input_width(spec: ArraySpec, stream: str) -> int:
    """Bits of an input stream's payload."""
    return layout(spec, stream).size


def sums_width(spec: ArraySpec) -> int:
    """Bits of a beat of sums."""
    return spec.columns * spec.mac.acc_width


def array_bench(specs: Sequence[ArraySpec]) -> str:
    """Top of the arrays: `chosen` selects one, a rising `go` resets and starts it.

    `finished` rises when no stream has moved for longer than the array's latency. Then `cycles` is
    the number of clock edges so far and `broken` the number of cycles in which the array withdrew
    or changed a beat of sums that it had offered. Plusargs name a file for each of `FILES`.
    """
    units = "\n".join(
        f"  wire finished{n};\n  wire [31:0] cycles{n}, broken{n};\n"
        f"  bench_{spec.name} unit{n}(.go(go && chosen == {n}), .finished(finished{n}),\n"
        f"    .cycles(cycles{n}), .broken(broken{n}));"
        for n, spec in enumerate(specs)
    )

    def chosen(name: str) -> str:
        choices = "".join(f"chosen == {n} ? {name}{n} : " for n in range(len(specs)))
        return f"  assign {name} = {choices}0;\n"

    top = (
        f"module {TOP}(input go {PUBLIC}, input [7:0] chosen {PUBLIC}, output finished {PUBLIC},\n"
        f"  output [31:0] cycles {PUBLIC}, output [31:0] broken {PUBLIC});\n{units}\n"
        f"{chosen('finished')}{chosen('cycles')}{chosen('broken')}endmodule\n"
    )
    return "`timescale 1ns/1ns\n" + "\n".join([*map(_unit, specs), top])


def _unit(spec: ArraySpec) -> str:
    """Module that streams one array's beats."""
    pins = [f".{s}__{pin}({s}_{pin})" for s in INPUTS for pin in ("payload", "valid", "ready")]
    pins += [f".sums__{pin}(sums_{pin})" for pin in ("payload", "valid", "ready")]
    sources = "".join(_source(stream, input_width(spec, stream)) for stream in INPUTS)
    return f"""\
module bench_{spec.name}(input go, output reg finished,
  output reg [31:0] cycles, output reg [31:0] broken);
  reg clk = 0, rst = 1;
  reg [8*512-1:0] path;
  integer weights_file, activations_file, ready_file, sums_file, taken, idle = 0;
  initial finished = 0;
{sources}
{_sink(sums_width(spec))}
  {spec.name} dut(.clk(clk), .rst(rst), {", ".join(pins)});
  wire moving = weights_valid && weights_ready || activations_valid && activations_ready ||
    sums_valid || weights_gap != 0 || activations_gap != 0;
  always @(posedge clk) begin
    cycles <= rst ? 0 : cycles + 1;
    idle <= rst || moving ? 0 : idle + 1;
  end

  always @(posedge go) begin
{_opened()}\
    finished = 0;
    rst = 1;
    #1 clk = 1;
    #1 clk = 0;
    rst = 0;
    while (idle < {spec.latency + 8}) begin
      #1 clk = 1;
      #1 clk = 0;
    end
{_closed()}\
    finished = 1;
  end
endmodule
"""


def _opened() -> str:
    """Opens a file for every stream."""
    return "".join(
        f'    if (!$value$plusargs("{name}=%s", path)) $fatal(1, "no {name}");\n'
        f'    {name}_file = $fopen(path, "{"wb" if name == "sums" else "rb"}");\n'
        for name in FILES
    )


def _closed() -> str:
    return "".join(f"    $fclose({name}_file);\n" for name in FILES)


def _sink(width: int) -> str:
    """Takes and writes beats of sums."""
    record = padded(width)
    return f"""\
  // Sums: ready is `low` cycles off and then `high` cycles on, again and again until a beat passes;
  // with `hold`, off until a beat has waited for `low` cycles. `high` = 0: on for good.
  reg sums_ready = 0, offered = 0, hold;
  reg [31:0] take = 0;
  reg [15:0] phase, low, high;
  wire sums_valid;
  wire [{width - 1}:0] sums_payload;
  reg [{width - 1}:0] last;
  reg [{record - 1}:0] out;
  always @(posedge clk) begin
    if (!rst && offered && (!sums_valid || sums_payload != last)) broken = broken + 1;
    offered = !rst && sums_valid && !sums_ready;
    last = sums_payload;
    if (rst || sums_valid && sums_ready) begin
      if (rst) broken = 0;
      else begin
        out = 0;
        out[{width - 1}:0] = sums_payload;
        $fwrite(sums_file, "%u", cycles);
        $fwrite(sums_file, "%u", out);
      end
      phase = 0;
      take = 0;
      taken = $fread(take, ready_file);
    end else if (phase < low ? !hold || sums_valid : high != 0)
      phase = phase + 1 == low + high && high != 0 ? 0 : phase + 1;
    {{hold, low, high}} = {{take[31], 1'b0, take[30:0]}};
    sums_ready <= !rst && phase >= low;
  end
"""


def _source(stream: str, width: int) -> str:
    """Reads a stream's records and offers their beats."""
    record = padded(width)
    hidden = f"{{{width}{{!{stream}_pending || {stream}_gap != 0}}}}"
    return f"""
  reg {stream}_valid = 0, {stream}_pending = 0;
  integer {stream}_got;
  reg [{GAP_BITS - 1}:0] {stream}_gap = 0;
  reg [{record + 31}:0] {stream}_record = 0;
  reg [{width - 1}:0] {stream}_payload = 0;
  wire {stream}_ready;
  always @(posedge clk) begin
    if (rst || {stream}_valid && {stream}_ready) {stream}_pending = 0;
    if (!{stream}_pending) begin
      {stream}_got = $fread({stream}_record, {stream}_file);
      {stream}_pending = {stream}_got == {record // 8 + 4};
      {stream}_gap = {stream}_pending ? {stream}_record[{record} +: {GAP_BITS}] : 0;
    end else if ({stream}_gap != 0) {stream}_gap = {stream}_gap - 1;
    {stream}_valid <= {stream}_pending && {stream}_gap == 0;
    {stream}_payload <= {hidden} ^ {stream}_record[{width - 1}:0];
  end
"""
