"""The QONNX export, run by QONNX's own executor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from test_quanos_export import SMALL, Normalised, Unplanned, seen
from torch import nn

from quanos.integer.graph import trace
from quanos.integer.qonnx import save, to_qonnx
from quanos.models import build_model

pytest.importorskip("qonnx", reason="needs qonnx, of the dependency group tests")
from qonnx.core.modelwrapper import ModelWrapper
from qonnx.core.onnx_exec import execute_onnx
from qonnx.transformation.infer_shapes import InferShapes


def executed(model: nn.Module, images: torch.Tensor, path: Path) -> np.ndarray:
    """Logits of the exported file, by QONNX's executor."""
    save(path, to_qonnx(trace(model), images.shape[1:]))
    wrapper = ModelWrapper(str(path))
    wrapper.set_tensor_shape("image", list(images.shape))
    wrapper = wrapper.transform(InferShapes())
    return execute_onnx(wrapper, {"image": images.numpy()})["logits"]


CASES = [("vgg-small", 1), ("vgg-small", 5), ("resnet-small", 2), ("mobilenetv2", 3)]


@pytest.mark.parametrize(("name", "bits"), CASES)
def test_qonnx_computes_the_trainers_network(name: str, bits: int, tmp_path: Path) -> None:
    shape = SMALL[name]
    model = seen(build_model(name, shape, 10), shape, bits)
    images = torch.rand(8, *shape)
    with torch.no_grad():
        expected = model(images).numpy()
    logits = executed(model, images, tmp_path / "network.onnx")
    np.testing.assert_allclose(logits, expected, atol=1e-5)
    assert np.array_equal(logits.argmax(1), expected.argmax(1))


OWN = {
    "branches": lambda: Unplanned(2, 2, 2, 2, True),
    "normalised by buffers": lambda: Normalised(lambda net, x: (x - net.mean) / net.std),
    "normalised by numbers": lambda: Normalised(lambda net, x: 2 * x - 1),
}


@pytest.mark.parametrize("build", OWN.values(), ids=OWN)
def test_qonnx_takes_a_network_that_nobody_planned_for(build, tmp_path: Path) -> None:
    model = seen(build(), (2, 9, 10), 6, classifier=True)
    images = torch.rand(4, 2, 9, 10)
    with torch.no_grad():
        expected = model(images).numpy()
    np.testing.assert_allclose(
        executed(model, images, tmp_path / "network.onnx"), expected, atol=1e-5
    )
