"""Attacks that were made are found again, and nothing else is taken for them."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from quanos import build_model, quantize
from quanos.adversary.ledger import Ledger, fingerprint
from quanos.config import Config
from quanos.layers import set_bits

MASK = torch.tensor([True, False, False, True, True, False, True, False, True, True, False])


def never() -> torch.Tensor:
    raise AssertionError("the attack was made again")


@pytest.mark.parametrize("count", [0, 1, 8, 11])
def test_an_attack_is_made_once(tmp_path: Path, count: int) -> None:
    told: list[tuple[str, float]] = []
    path, mask = tmp_path / "attacks.json", MASK[:count]
    first = Ledger(path, "net", lambda name, share, _: told.append((name, share)))
    assert torch.equal(first.once("fgsm at 0.1", lambda: mask), mask)
    again = Ledger(path, "net", first.told)
    found = again.once("fgsm at 0.1", never)
    assert found.dtype == torch.bool
    assert torch.equal(found, mask)
    assert told == [("fgsm at 0.1", int(mask.sum()) / max(count, 1))]
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_what_interrupts_after_an_attack_loses_nothing(tmp_path: Path) -> None:
    def told(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "attacks.json"
    with pytest.raises(KeyboardInterrupt):
        Ledger(path, "net", told).once("pgd", lambda: MASK)
    assert torch.equal(Ledger(path, "net").once("pgd", never), MASK)


def spoilt(text: str) -> dict[str, str]:
    """Ways in which a file is not the one that is looked for."""
    content = json.loads(text)
    rows = content["withstood"]
    return {
        "truncated": text[: len(text) // 2],
        "no object": "[]",
        "of another network": json.dumps(content | {"about": "other"}),
        "of another version": json.dumps(content | {"schema": "quanos.attacked/0"}),
        "fewer images than bits": json.dumps(
            content | {"withstood": {"pgd": [99, rows["pgd"][1]]}}
        ),
        "no digits": json.dumps(content | {"withstood": {"pgd": [11, "zz"]}}),
    }


SPOILT = (
    *("truncated", "no object", "of another network", "of another version"),
    *("fewer images than bits", "no digits"),
)


@pytest.mark.parametrize("how", SPOILT)
def test_another_file_is_not_taken_for_it(tmp_path: Path, how: str) -> None:
    path = tmp_path / "attacks.json"
    Ledger(path, "net").once("pgd", lambda: MASK)
    path.write_text(spoilt(path.read_text())[how])
    assert torch.equal(Ledger(path, "net").once("pgd", lambda: ~MASK), ~MASK)


def test_whatever_decides_the_outcome_is_in_the_fingerprint() -> None:
    torch.manual_seed(0)
    model = quantize(build_model("vgg-small", (1, 8, 8), 2), 4)
    images = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    config = Config()
    found = [fingerprint([model, None], config, images)]
    elsewhere = replace(config, data_dir="there", device="cuda", threads=2)
    assert fingerprint([model, None], elsewhere, images) == found[0]
    found.append(fingerprint([model, model], config, images))
    found.append(fingerprint([model, None], replace(config, strong_steps=9), images))
    found.append(fingerprint([model, None], config, images + 1))
    set_bits(model, {"features.0": 3})
    found.append(fingerprint([model, None], config, images))
    with torch.no_grad():
        next(model.parameters()).add_(1)
    found.append(fingerprint([model, None], config, images))
    found.append(fingerprint([model.to(torch.bfloat16), None], config, images))
    assert len(set(found)) == len(found)
