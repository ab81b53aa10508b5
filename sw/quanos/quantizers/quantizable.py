"""What `quantize` can take and what it must name: nothing that multiplies is skipped in silence."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from torch import nn

# Layers that multiply but are not convolutions of planes or fully connected.
UNSUPPORTED = (
    nn.Conv1d,
    nn.Conv3d,
    nn.ConvTranspose1d,
    nn.ConvTranspose2d,
    nn.ConvTranspose3d,
    nn.Bilinear,
    nn.MultiheadAttention,
    nn.RNNBase,
    nn.RNNCellBase,
)
# Their parameters of two and more dimensions look up or scale, which no MAC does.
HARMLESS = (nn.Embedding, nn.EmbeddingBag, nn.LayerNorm, nn.RMSNorm)
HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def covered(name: str, parents: Collection[str]) -> bool:
    """Whether the module `name` is one of `parents` or inside one.

    >>> covered("stem.conv", ["stem"]), covered("stem2", ["stem"])
    (True, False)
    """
    return any(name == parent or name.startswith(f"{parent}.") for parent in parents)


def convertible(layer: nn.Module) -> bool:
    """Whether the layer can be replaced by a quantized one that computes the same."""
    return type(layer) in (nn.Conv2d, nn.Linear) and not _reason(layer)


def classifier_of(modules: Mapping[str, nn.Module]) -> str | None:
    """The last Linear in registration order that no unsupported layer owns; None without any."""
    owners = [name for name, module in modules.items() if isinstance(module, UNSUPPORTED)]
    linear = [n for n, m in modules.items() if isinstance(m, nn.Linear) and not covered(n, owners)]
    return linear[-1] if linear else None


def obstacles(modules: Mapping[str, nn.Module], kept: Collection[str]) -> list[str]:
    """What multiplies but cannot be quantized, outside of `kept`, as `name (why)`.

    Parameters of two and more dimensions that no known layer owns count too: code that `quantize`
    cannot see multiplies with them.
    """
    found: list[str] = []
    inside = list(kept)
    for name, module in modules.items():
        if covered(name, inside):
            continue
        if isinstance(module, UNSUPPORTED):
            found.append(f"{name} ({type(module).__name__})")
            inside.append(name)
        elif isinstance(module, nn.Conv2d | nn.Linear):
            if reason := _reason(module):
                found.append(f"{name} ({reason})")
                inside.append(name)
        elif not isinstance(module, HARMLESS):
            found += [text for path, text in _loose(name, module) if path not in kept]
    return found


def _reason(layer: nn.Module) -> str:
    """Why this Conv2d or Linear cannot be replaced; empty where it can."""
    kind = type(layer).__name__
    if not isinstance(layer._parameters.get("weight"), nn.Parameter):
        return f"a {kind} whose weight is computed, by weight_norm, spectral_norm or pruning"
    if type(layer) not in (nn.Conv2d, nn.Linear):
        base = "Conv2d" if isinstance(layer, nn.Conv2d) else "Linear"
        return f"{kind}, a subclass of {base}"
    if any(getattr(layer, hooks, None) for hooks in HOOKS) or "forward" in vars(layer):
        return f"a {kind} with hooks or a forward of its own"
    return ""


def _loose(name: str, module: nn.Module) -> Iterator[tuple[str, str]]:
    """Parameters that code around the layers multiplies with: path, and what to tell of it."""
    for own, parameter in module.named_parameters(recurse=False):
        if parameter.dim() > 1:
            path = f"{name}.{own}" if name else own
            yield path, f"{path} (a parameter of {type(module).__name__}, used by its code)"
