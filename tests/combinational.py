"""A circuit without registers in Amaranth's simulator: what comes out for what goes in."""

from collections.abc import Iterable, Mapping

from amaranth.lib.wiring import Component
from amaranth.sim import Simulator


def outputs(dut: Component, port: str, rows: Iterable[Mapping[str, int]]) -> list[int]:
    """What `port` shows for each row of {input: value}."""
    got: list[int] = []

    async def bench(ctx):
        for row in rows:
            for name, value in row.items():
                ctx.set(getattr(dut, name), value)
            got.append(ctx.get(getattr(dut, port)))

    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
    return got
