"""A traced network as QONNX: ONNX with `Quant` and `BipolarQuant` nodes (Pappalardo et al. 2022).

Weights and activations are quantized by nodes that state bits, scale and ties to even; batch norm
is folded into a multiplication and an addition per channel. Any tool that reads QONNX can go on
from here; what it computes is the trainer's network within floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from quanos.integer.graph import Operation
from quanos.storage import files

DOMAIN = "qonnx.custom_op.general"
OPSET = 17
IR_VERSION = 8  # of that opset's time, so that older readers take the file too


def to_qonnx(
    operations: Sequence[Operation], input_shape: Sequence[int], *, name: str = "quanos"
) -> ModelProto:
    """The ONNX model of a traced network: input `image` (B, C, H, W) in [0, 1], output `logits`."""
    graph = _Graph()
    for operation in operations:
        graph.add(operation)
    graph.node("Identity", [graph.values[operations[-1].name]], "logits")
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["B", *input_shape])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["B", "classes"])
    body = helper.make_graph(graph.nodes, name, [image], [logits], graph.initializers)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(body, opset_imports=opsets, producer_name="quanos")
    model.ir_version = IR_VERSION
    checker.check_model(model)
    return model


def save(path: Path, model: ModelProto) -> None:
    """Write the model beside `path`, then rename."""
    files.write_bytes(path, model.SerializeToString())


class _Graph:
    """Nodes and constants as they come; `values` says which tensor an operation's result is."""

    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.initializers: list[TensorProto] = []
        self.values: dict[str, str] = {}

    def add(self, operation: Operation) -> None:
        """The nodes of an operation."""
        inputs = [self.values[name] for name in operation.inputs]
        self.values[operation.name] = _KINDS[operation.kind](self, operation, inputs)

    def constant(self, name: str, value: Any) -> str:
        """A float32 constant, or int64 where the array has integers."""
        array = np.asarray(value)
        kind = np.int64 if array.dtype.kind in "iu" else np.float32
        self.initializers.append(numpy_helper.from_array(array.astype(kind), name))
        return name

    def node(
        self, kind: str, inputs: list[str], output: str, *, domain: str = "", **attributes: Any
    ) -> str:
        """Append a node; returns its output."""
        made = helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes)
        self.nodes.append(made)
        return output

    def quant(
        self, x: str, output: str, step: float, bits: int, *, signed: bool, binary: bool
    ) -> str:
        """A quantizer's node; signed codes are symmetric (`narrow`)."""
        scale = self.constant(f"{output}/scale", np.float32(step))
        if binary:
            return self.node("BipolarQuant", [x, scale], output, domain=DOMAIN)
        zero = self.constant(f"{output}/zero", np.float32(0))
        # one bit of signed, non-binary codes does not occur; narrow two bits are -1, 0, 1
        width = self.constant(f"{output}/bits", np.float32(bits))
        return self.node(
            "Quant", [x, scale, zero, width], output, domain=DOMAIN,
            signed=int(signed), narrow=int(signed), rounding_mode="ROUND",
        )  # fmt: skip

    def per_channel(self, x: str, name: str, scale: Any, offset: Any, axes: int) -> str:
        """x * scale + offset along channels, which `axes` further axes follow."""
        shape = (-1, *(1,) * axes)
        factor = self.constant(f"{name}/factor", np.reshape(scale, shape))
        shift = self.constant(f"{name}/shift", np.reshape(offset, shape))
        return self.node("Add", [self.node("Mul", [x, factor], f"{name}/mul"), shift], name)


def _layer(graph: _Graph, operation: Operation, inputs: list[str]) -> str:
    name, at, arrays = operation.name, operation.attributes, operation.arrays
    signed = at["low"] < 0
    pads = _pads(at)
    if at["binary"] and any(pads):  # zero has no code: it is padded first and becomes +1
        sizes = graph.constant(f"{name}/pads", np.array([0, 0, *pads[:2], 0, 0, *pads[2:]]))
        inputs, pads = [graph.node("Pad", [inputs[0], sizes], f"{name}/padded")], [0] * 4
    x = graph.quant(
        inputs[0], f"{name}/a", at["a_step"], at["bits"], signed=signed, binary=at["binary"]
    )
    real = graph.constant(f"{name}/weight", arrays["codes"] * np.float32(at["w_step"]))
    w = graph.quant(
        real, f"{name}/w", at["w_step"], at["bits"], signed=True, binary=at["bits"] == 1
    )
    scale = arrays["scale"] / (at["w_step"] * at["a_step"])  # what batch norm multiplies by
    if operation.kind == "linear":
        turned = graph.node("Transpose", [w], f"{name}/wt", perm=[1, 0])
        product = graph.node("MatMul", [x, turned], f"{name}/sums")
        return graph.per_channel(product, name, scale, arrays["offset"], 0)
    product = graph.node(
        "Conv", [x, w], f"{name}/sums", strides=at["stride"], dilations=at["dilation"],
        group=at["groups"], pads=pads,
    )  # fmt: skip
    return graph.per_channel(product, name, scale, arrays["offset"], 2)


def _pads(attributes: Mapping[str, Any]) -> list[int]:
    """Padding as ONNX wants it, top, left, bottom, right; a fully connected layer has none."""
    top, bottom, left, right = attributes.get("padding", (0, 0, 0, 0))
    return [top, left, bottom, right]


def _affine(graph: _Graph, operation: Operation, inputs: list[str]) -> str:
    arrays = operation.arrays
    return graph.per_channel(inputs[0], operation.name, arrays["scale"], arrays["offset"], 2)


def _clip(graph: _Graph, operation: Operation, inputs: list[str]) -> str:
    name, high = operation.name, operation.attributes["high"]
    if high is None:
        return graph.node("Relu", inputs, name)
    low = graph.constant(f"{name}/low", np.float32(operation.attributes["low"]))
    return graph.node(
        "Clip", [*inputs, low, graph.constant(f"{name}/high", np.float32(high))], name
    )


def _pool(graph: _Graph, operation: Operation, inputs: list[str]) -> str:
    at = operation.attributes
    kind = "MaxPool" if operation.kind == "max_pool" else "AveragePool"
    pads = [*at["padding"], *at["padding"]]
    return graph.node(
        kind, inputs, operation.name, kernel_shape=at["kernel"], strides=at["stride"], pads=pads
    )


def _mean(graph: _Graph, operation: Operation, inputs: list[str]) -> str:
    keep = int(operation.attributes["keep"])
    return graph.node("ReduceMean", inputs, operation.name, axes=[2, 3], keepdims=keep)


def _float(graph: _Graph, operation: Operation, inputs: list[str]) -> str:
    name, arrays = operation.name, operation.arrays
    weight = graph.constant(f"{name}/weight", arrays["weight"])
    bias = graph.constant(f"{name}/bias", arrays["bias"])
    return graph.node("Gemm", [*inputs, weight, bias], name, transB=1)


def _same(kind: str, **attributes: Any) -> Callable[[_Graph, Operation, list[str]], str]:
    """An operation that ONNX has as it is."""
    return lambda graph, operation, inputs: graph.node(kind, inputs, operation.name, **attributes)


_KINDS: dict[str, Callable[[_Graph, Operation, list[str]], str]] = {
    "input": lambda *_: "image",
    "affine": _affine,
    "conv": _layer,
    "linear": _layer,
    "clip": _clip,
    "max_pool": _pool,
    "avg_pool": _pool,
    "mean": _mean,
    "add": _same("Add"),
    "cat": _same("Concat", axis=1),
    "flatten": _same("Flatten", axis=1),
    "float": _float,
}
