"""The spectral norm of a linear map that is known only by what it does: Lanczos' method.

In the Krylov space of A^T A and a start vector the largest Ritz value rises to the square of the
largest singular value of A (Golub and Van Loan, Matrix Computations, section 10.1). A dozen steps
come nearer than thirty of power iteration, above all for the errors of rounding, whose singular
values crowd below the largest one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

STEPS = 12
"""Products with the map and its transpose; the value is then within about one percent."""

LinearMap = Callable[[Tensor], Tensor]


def spectral_norm(apply: LinearMap, start: Tensor, steps: int = STEPS) -> float:
    """Largest singular value of the linear map `apply`, from below, after so many `steps`.

    `start`, in the shape of the map's input, must not be zero; it decides the last digits.
    """
    basis = start.new_empty(steps, start.numel())
    images = torch.empty_like(basis)
    x = start.flatten()
    for step in range(steps):
        norm = float(x.norm())
        if step and norm <= 1e-6 * float(images[step - 1].norm()):
            return _ritz(basis[:step], images[:step])  # nothing of the map is left outside
        basis[step] = x / norm
        images[step] = _there_and_back(apply, basis[step].reshape(start.shape)).flatten()
        x = images[step]
        for _ in range(2):  # once leaves rounding errors, which come back as copies of the value
            x = x - basis[: step + 1].T @ (basis[: step + 1] @ x)
    return _ritz(basis, images)


def _there_and_back(apply: LinearMap, x: Tensor) -> Tensor:
    """A^T A x."""
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        y = apply(x)
    (back,) = torch.autograd.grad(y, x, y.detach())
    return back


def _ritz(basis: Tensor, images: Tensor) -> float:
    """Root of the largest Ritz value, of an orthonormal `basis` (S, N) and its images by A^T A."""
    inner = (basis @ images.T).double()
    largest = torch.linalg.eigvalsh((inner + inner.T) / 2)[-1]
    return float(largest.clamp_min(0).sqrt())
