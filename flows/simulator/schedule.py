"""What a circuit computes in a cycle, and in which order, so that many cycles are taken at once.

A node makes a value. One that does not wait for itself, through however many registers, is
evaluated for many cycles before the next node is; the others, such as those of an accumulator, make
up loops, which are taken cycle by cycle. Both are found as strongly connected components (Tarjan,
SIAM J. Comput. 1(2), 1972), depth first, so that few values are alive at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from flows.cells.boolean import Function
from flows.gates.circuit import Circuit, FlipFlop
from flows.netlist import ONE, ZERO


class Kind(IntEnum):
    """What a node does, in the order in which a loop takes its nodes within a cycle."""

    INPUT = 0  # nothing: the value is given
    CLOCK = 1  # 1 in pulsing cycles; inputs are the parent and, a cycle earlier, the enables
    REGISTER = 2  # inputs are the next state, a cycle earlier, and the clock
    INVERT = 3
    GATE = 4
    ALARM = 5  # its input must stay 0


@dataclass(frozen=True, slots=True)
class Node:
    """Values are numbered as nets are, and from the number of nets on where there is no net."""

    kind: Kind
    output: int
    inputs: tuple[int, ...] = ()
    function: Function | None = None


class Schedule:
    """A circuit's nodes in `parts`, each to be finished before the next; several are a loop.

    With `every` there are all gates, otherwise those alone that registers depend on. `values` is
    the number of values, `ones` are the nets that are 1 without a node.
    """

    def __init__(self, circuit: Circuit, *, every: bool) -> None:
        self.circuit = circuit
        self.values = len(circuit.netlist.nets)
        gates = [g for g in circuit.gates if every or g.output in circuit.needed]
        self._constant = {g.output: int(g.function.evaluate({})) for g in gates if not g.inputs}
        self.ones = [ONE, *(net for net, value in self._constant.items() if value)]
        nodes = [Node(Kind.INPUT, net) for net in circuit.data_inputs]
        for net, clock in circuit.clocks.items():
            parent = ONE if clock.parent is None else clock.parent
            nodes.append(self._node(Kind.CLOCK, net, (parent, *clock.enables)))
        nodes += [self._node(Kind.GATE, g.output, g.inputs, g.function) for g in gates if g.inputs]
        for ff in circuit.flipflops:
            nodes += self._register(ff)
        nodes.sort(key=lambda node: node.kind)  # otherwise as they are: gates by their levels
        self.parts = [[nodes[i] for i in sorted(part)] for part in _components(_fanin(nodes))]

    def _node(
        self, kind: Kind, output: int, nets: Sequence[int], function: Function | None = None
    ) -> Node:
        return Node(kind, output, tuple(self._constant.get(n, n) for n in nets), function)

    def _new(self) -> int:
        self.values += 1
        return self.values - 1

    def _register(self, ff: FlipFlop) -> Iterator[Node]:
        """Its state, the inverse, what it depends on that no gate makes, and what must stay 0."""
        sides: tuple[list[int], list[int]] = ([], [])
        for net, inverted, _ in ff.outputs:
            sides[inverted].append(net)
        state, inverse = (side or [self._new()] for side in sides)
        pins = {**ff.inputs, ff.state[0]: state[0], ff.state[1]: inverse[0]}
        following = pins.get(ff.next_state.text)  # a register that just copies a pin
        if following is None:
            following = self._new()
            yield from self._function(ff.next_state, following, pins)
        for net in state:
            yield self._node(Kind.REGISTER, net, (following, ff.clock))
        for net in inverse:
            yield Node(Kind.INVERT, net, (state[0],))
        for function in ff.asynchronous:
            found = self._new()
            yield from self._function(function, found, pins)
            yield self._node(Kind.ALARM, ZERO, (found,))

    def _function(self, function: Function, output: int, pins: dict[str, int]) -> Iterator[Node]:
        if function.inputs:
            nets = [pins[pin] for pin in function.inputs]
            yield self._node(Kind.GATE, output, nets, function)
        else:
            self._constant[output] = int(function.evaluate({}))


def _fanin(nodes: Sequence[Node]) -> list[list[int]]:
    """The nodes that every node waits for, in this cycle or from the one before."""
    maker = {node.output: i for i, node in enumerate(nodes) if node.kind != Kind.ALARM}
    return [[maker[value] for value in node.inputs if value in maker] for node in nodes]


def _components(fanin: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Strongly connected components, each after all that it waits for."""
    never = len(fanin) + 1
    found = [0] * len(fanin)  # a node's number in the order of finding, from 1 on
    low = [never] * len(fanin)  # the least number of a node in reach whose component is open
    numbers = iter(range(1, never))
    open_nodes: list[int] = []
    for root in range(len(fanin)):
        path = [] if found[root] else [(root, iter(fanin[root]))]
        while path:
            node, below = path[-1]
            if not found[node]:
                found[node] = low[node] = next(numbers)
                open_nodes.append(node)
            new = next((other for other in below if not found[other]), None)
            if new is not None:
                path.append((new, iter(fanin[new])))
                continue
            path.pop()
            low[node] = min([low[node], *(low[other] for other in fanin[node])])
            if low[node] == found[node]:
                part = [*iter(open_nodes.pop, node), node]
                for member in part:
                    low[member] = never
                yield part
