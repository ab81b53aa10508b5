"""Several processes, one training run: each takes its part of every batch (torchrun, DDP).

Under torchrun the batch size is that of all processes together, and the result is that of one
process up to rounding: process r takes the r-th stretch of each batch, batch norm uses the
statistics of the whole batch, activations are signed where any process saw a negative value, and
their range is the one that process 0 sees, which looks at the batch's first 32 images in either
case (so give each process as many at least). Process 0 alone senses, evaluates and writes.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from quanos.quantizer import ActivationQuantizer

Value = TypeVar("Value")


@dataclass(frozen=True)
class Group:
    """The processes of this run; one alone where torchrun did not start several."""

    rank: int = 0
    size: int = 1

    @property
    def lead(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0

    def part(self, total: int) -> slice:
        """This process's stretch of a batch of `total` images; sizes differ by one at most."""
        return slice(total * self.rank // self.size, total * (self.rank + 1) // self.size)

    def from_lead(self, make: Callable[[], Value]) -> Value:
        """What `make` gives on process 0, on every process."""
        if self.size == 1:
            return make()
        box = [make() if self.lead else None]
        dist.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value]

    def sum(self, value: Tensor) -> Tensor:
        """The sum of a tensor of any shape over all processes."""
        if self.size > 1:
            value = value.clone()
            dist.all_reduce(value)
        return value


def group(device: str = "cpu") -> Group:
    """The group that torchrun's environment describes, joined at the first call."""
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        return Group()
    if not dist.is_initialized():
        on_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        if on_cuda:  # what is sent between processes lies on this card
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        dist.init_process_group("nccl" if on_cuda else "gloo")
    return Group(dist.get_rank(), dist.get_world_size())


def leave() -> None:
    """Leave the group, if there is one; torch warns of a process that ends without it."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def distribute(model: nn.Module, group: Group) -> nn.Module:
    """What to call in place of `model` in a training step; shares its parameters and buffers."""
    if group.size == 1:
        return model
    for module in model.modules():
        if type(module) is nn.BatchNorm2d:
            module.__class__ = GlobalBatchNorm2d  # the same parameters and buffers
        elif isinstance(module, ActivationQuantizer):
            _follow_lead(module)
    return DistributedDataParallel(model)


class GlobalBatchNorm2d(nn.BatchNorm2d):
    """Batch norm over the images of all processes, (B, C, H, W); torch's own is for CUDA alone."""

    def forward(self, input: Tensor) -> Tensor:
        if not self.training:
            return super().forward(input)
        total, mean, variance = _statistics(input)
        with torch.no_grad():
            assert self.running_mean is not None
            assert self.running_var is not None
            assert self.num_batches_tracked is not None
            self.num_batches_tracked += 1
            momentum = 0.0 if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
            unbiased = variance * (total / (total - 1))
            self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        scale = (variance + self.eps).rsqrt().to(input.dtype) * self.weight
        shift = self.bias - mean.to(input.dtype) * scale
        return input * scale[:, None, None] + shift[:, None, None]


def _statistics(images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Count, mean and variance per channel over all processes, in float64, differentiable."""
    values = images.double()
    count = torch.full_like(values[0, :, 0, 0], values.numel() / values.shape[1])
    sums = torch.stack([count, values.sum((0, 2, 3)), values.square().sum((0, 2, 3))])
    total, first, second = _SumOverProcesses.apply(sums)  # type: ignore[no-untyped-call]
    mean = first / total
    return total, mean, second / total - mean.square()


class _SumOverProcesses(torch.autograd.Function):
    """The sum over all processes; what each of them makes of it adds up in the gradient."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Tensor:
        total: Tensor = gradients[0].clone()
        dist.all_reduce(total)
        return total


def _follow_lead(quantizer: ActivationQuantizer) -> None:
    """Make the quantizer take the range that process 0 observes, or starts to learn from."""

    def shared(observe: Callable[[Tensor], None]) -> Callable[[Tensor], None]:
        def both(x: Tensor) -> None:
            first = not quantizer.ready
            observe(x)
            if first:  # codes are signed where any process has seen a negative value
                dist.all_reduce(quantizer.seen, dist.ReduceOp.MAX)
                quantizer.follow_seen()
            for tensor in (*quantizer.buffers(), *quantizer.parameters()):
                dist.broadcast(tensor.data, src=0)

        return both

    for name in ("_observe", "start"):
        if hasattr(quantizer, name):
            setattr(quantizer, name, shared(getattr(quantizer, name)))
