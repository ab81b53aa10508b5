"""Which images withstood which attack, kept as it comes: attacks that were cut off go on.

Every attack draws from the run's seed alone, so that the next one does not hang on whether the last
was made now or read from the file.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from quanos.config import Config
from quanos.layers import get_bits
from quanos.run import PLACE_KEYS
from quanos.storage.files import write_bytes

SCHEMA = "quanos.attacked/1"


class Ledger:
    """Attacks made so far, in the file `path` (None: in memory alone).

    `about` is what decides their outcome (`fingerprint`); a file about something else, or a damaged
    one, is not read and is written anew. `told(name, share withstood, seconds)` is called after an
    attack was made, not where it was found; an exception that it raises loses nothing.
    """

    def __init__(
        self,
        path: Path | None = None,
        about: str = "",
        told: Callable[[str, float, float], None] = lambda name, share, seconds: None,
    ) -> None:
        self.path, self.about, self.told = path, about, told
        self._rows = _read(path, about) if path else {}

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """Which images (N,) withstood the attack `name`: as it stands here, else by `make`."""
        if name in self._rows:
            size, text = self._rows[name]
            bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=size)
            return torch.from_numpy(bits.astype(bool))
        start = time.perf_counter()
        withstood = make()
        self._rows[name] = len(withstood), np.packbits(withstood.cpu().numpy()).tobytes().hex()
        self._write()
        share = int(withstood.sum()) / max(len(withstood), 1)
        self.told(name, share, time.perf_counter() - start)
        return withstood

    def remove(self) -> None:
        """The file is of no more use: what came of it has been written."""
        if self.path:
            self.path.unlink(missing_ok=True)

    def _write(self) -> None:
        if self.path:
            content = {"schema": SCHEMA, "about": self.about, "withstood": self._rows}
            write_bytes(self.path, json.dumps(content).encode())


def _read(path: Path, about: str) -> dict[str, tuple[int, str]]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if (content["schema"], content["about"]) != (SCHEMA, about):
            return {}
        rows = {str(name): (int(n), str(text)) for name, (n, text) in content["withstood"].items()}
        whole = all(len(bytes.fromhex(text)) == (n + 7) // 8 for n, text in rows.values())
        return rows if whole else {}
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}


def fingerprint(networks: Sequence[nn.Module | None], config: Config, data: Tensor) -> str:
    """A hash of networks (weights, ranges, bits), configuration and data (any shape).

    Where a run computes is left out: it goes on elsewhere.
    """
    keys = {name: value for name, value in asdict(config).items() if name not in PLACE_KEYS}
    digest = hashlib.sha256(json.dumps(keys, sort_keys=True).encode())
    for network in networks:
        digest.update(json.dumps(get_bits(network) if network else None).encode())
        for name, value in network.state_dict().items() if network else ():
            digest.update(name.encode() + _bytes(value))
    digest.update(_bytes(data))
    return digest.hexdigest()


def _bytes(value: Tensor) -> bytes:
    """What a tensor of any shape and type holds."""
    plain = value.detach().cpu().contiguous().reshape(-1)
    return plain.view(torch.uint8).numpy().tobytes()
