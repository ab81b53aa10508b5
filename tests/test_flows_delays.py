"""From NLDM's picoseconds to steps: what quantising keeps, and what the pulse filter gets."""

import pytest

from flows.console import FlowError
from flows.gates.circuit import Circuit
from flows.library import Library
from flows.netlist import Netlist
from flows.simulator.delays import Delays, GateDelay, instance_delays
from flows.synth import synthesize


@pytest.mark.parametrize(
    ("rise", "fall", "reject", "inputs", "filters"),
    [
        ((4,), (4,), 0.0, (4,), (0, 0)),
        ((4,), (4,), 1.0, (0,), (4, 4)),
        ((4,), (4,), 0.5, (2,), (2, 2)),
        ((6,), (2,), 0.0, (2,), (4, 0)),
        ((2,), (6,), 0.0, (2,), (0, 4)),
        ((6, 9), (2, 5), 1.0, (0, 3), (6, 2)),
        ((0,), (0,), 1.0, (0,), (1, 1)),  # no gate is faster than one step
        ((0, 0), (3, 3), 0.0, (1, 1), (0, 3)),
        ((), (), 1.0, (), (0, 0)),
    ],
)
def test_rise_and_fall_of_every_input_are_split_into_delay_and_filter(
    rise, fall, reject, inputs, filters
):
    delay = GateDelay.of(rise, fall, reject)
    assert delay.inputs == inputs
    assert (delay.rise, delay.fall) == filters


@pytest.fixture(scope="module")
def netlist(tmp_path_factory):
    folder = tmp_path_factory.mktemp("delays")
    text = (
        "module m(input clk, input [3:0] x, y, output reg [7:0] p);"
        "always @(posedge clk) p <= x * y + p; endmodule"
    )
    (folder / "m.v").write_text(text)
    library = Library.load()
    synthesize([folder / "m.v"], "m", folder, library)
    return Netlist.load(folder / "m.netlist.json", library), library


@pytest.mark.parametrize("reject", [0.0, 1.0])
def test_fine_steps_keep_the_librarys_delays(netlist, reject):
    netlist, library = netlist
    circuit = Circuit.of(netlist, library)
    delays = Delays.nldm(circuit, library, step_ps=0.1, reject=reject)
    exact = instance_delays(netlist, library)
    for gate, delay in zip(circuit.gates, delays.gates, strict=True):
        told = [exact[gate.instance, gate.pin][pin] for pin in gate.function.inputs]
        skew = sum(r - f for r, f in told) / len(told)
        assert 0.1 * (delay.rise - delay.fall) == pytest.approx(skew, abs=0.16)
        for (rise, fall), d in zip(told, delay.inputs, strict=True):
            mean = 0.1 * (d + (delay.rise + delay.fall) / 2)
            assert mean == pytest.approx((rise + fall) / 2, abs=0.2)
        if reject:
            assert min(delay.inputs) == 0
        else:
            assert min(delay.rise, delay.fall) == 0
    for ff in circuit.flipflops:
        for net, _, pin in ff.outputs:
            rise, fall = exact[ff.instance, pin][ff.clock_pin]
            assert [0.1 * x for x in delays.sources[net]] == pytest.approx([rise, fall], abs=0.06)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"step_ps": 0.0}, "time step must be more than 0 ps"),
        ({"step_ps": float("nan")}, "time step must be more than 0 ps"),
        ({"reject": 1.5}, "pulse rejection must lie between 0 and 1"),
    ],
)
def test_steps_and_rejections_that_cannot_be_are_refused(netlist, options, sentence):
    netlist, library = netlist
    with pytest.raises(FlowError, match=sentence):
        Delays.nldm(Circuit.of(netlist, library), library, **options)
