"""A finished run as its folder holds it, read and checked; units are those of `summary.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hw import toml
from quanos.storage.jsonfile import LARGEST, FileContentError, Node, read_json, read_lines
from quanos.storage.records import (
    PASSES,
    WORST_CASE,
    Attacked,
    Column,
    Comparison,
    Epoch,
    Gate,
    Longer,
    Price,
    Round,
    Run,
)

__all__ = ["PASSES", "WORST_CASE", "Attacked", "Column", "Price", "Run", "read_run"]

SCHEMA = "quanos.summary/1"


def read_run(folder: Path) -> Run:
    """The run in `folder`. Raises FileContentError where it is none, not finished, or damaged."""
    if not (folder / "config.toml").is_file():
        raise FileContentError(f"{folder} holds no run; name a folder that quanos train made.")
    if not (folder / "summary.json").is_file():
        if (folder.parent / "summary.json").is_file():
            raise FileContentError(f"{folder} is a network of the run {folder.parent}; name that.")
        raise FileContentError(
            f"the run in {folder} has not finished; go on with quanos train --out {folder} "
            "--resume."
        )
    summary = read_json(folder / "summary.json")
    if (schema := summary["schema"].text()) != SCHEMA:
        raise FileContentError(
            f"{folder / 'summary.json'} has schema {schema!r}; this version reads {SCHEMA!r}."
        )
    columns = tuple(_column(folder, *item) for item in summary["columns"].items())
    if not columns:
        raise FileContentError(f"{folder / 'summary.json'} has no columns; train the run anew.")
    return Run(
        folder=folder,
        dataset=summary["dataset"].text(),
        model=summary["model"].text(),
        input_shape=tuple(size.whole() for size in summary["input_shape"]),
        classes=summary["classes"].whole(),
        seed=summary["seed"].whole(),
        table_sha256=summary["table_sha256"].text(),
        columns=columns,
        summary=summary.value,
        origin={key: node.value for key, node in read_json(folder / "run.json").items()},
        config=_config(folder / "config.toml"),
    )


def _config(path: Path) -> dict[str, Any]:
    try:
        return toml.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise FileContentError(f"{path} is no valid TOML ({error}).") from None


def _column(folder: Path, name: str, node: Node) -> Column:
    own = name in {place.name for place in folder.iterdir() if place.is_dir()}  # not the main one
    return Column(
        name=name,
        policy=node["policy"].text(),
        bits=_widths(node["bits"]),
        mean_bits=node["mean_bits"].within(1, 16),
        epochs=node["epochs"].whole(),
        sense_epoch=node["sense_epoch"].whole(),
        rounds=tuple(map(_round, node["rounds"])),
        ans_final=_numbers(node["ans_final"]),
        clean_accuracy=node["clean_accuracy"].share(),
        attacked_images=node["attacked_images"].whole(),
        paper=_attacks(node["paper"]),
        strong=_attacks(node["strong"]),
        gate=_gate(node["gate"]),
        macs=node["macs"].whole(),
        memory_gbit=node["memory_gbit"].amount(),
        memory_compression=node["memory_compression"].amount(),
        prices={price.key: price for price in map(_price, node["energy"])},
        metrics=_metrics((folder / name if own else folder) / "metrics.jsonl"),
    )


def _widths(node: Node) -> dict[str, int]:
    for _, bits in node.items():
        if not 1 <= bits.whole() <= 16:
            raise bits.wrong("bits from 1 to 16")
    return {layer: bits.whole() for layer, bits in node.items()}


def _round(node: Node) -> Round:
    given = dict(node.items())
    return Round(
        epoch=node["epoch"].whole(),
        ans=_numbers(node["ans"]),
        bits=_widths(node["bits"]),
        stopped=given["stopped"].text() if "stopped" in given else None,
    )


def _numbers(node: Node) -> dict[str, float]:
    return {name: value.within(0, LARGEST) for name, value in node.items()}


def _attacks(node: Node) -> tuple[Attacked, ...]:
    return tuple(
        Attacked(
            attack=row["attack"].text(),
            epsilon=row["epsilon"].share(),
            accuracy=row["accuracy"].share(),
            adversarial_loss=row["adversarial_loss"].within(-1, 1),
        )
        for row in node
    )


def _gate(node: Node) -> Gate:
    given = dict(node.items())
    absent = dict(given["absent"].items()) if "absent" in given else {}
    return Gate(
        verdict=node["verdict"].text(),
        zero_gradient_share=node["zero_gradient_share"].share(),
        accuracy_at_half=node["accuracy_at_0.5"].share(),
        rows=tuple(map(_comparison, given.get("rows", ()))),
        longer=_longer(given["longer"]) if "longer" in given else None,
        absent={name: reason.text() for name, reason in absent.items()},
    )


def _comparison(row: Node) -> Comparison:
    names = ["epsilon", "fgsm_accuracy", "noise_accuracy", "pgd_accuracy"]
    later = ("white_box_accuracy", "worst_accuracy", "survives_rounding")
    names += [name for name in later if name in dict(row.items())]
    return Comparison(**{name: row[name].share() for name in names})


def _longer(node: Node) -> Longer:
    return Longer(**{name: node[name].share() for name in ("epsilon", "before", "after")})


def _price(node: Node) -> Price:
    return Price(
        scheme=node["scheme"].text(),
        reading=node["reading"].text(),
        supply=node["supply"].text(),
        energy_mj=node["energy_mj"].amount(),
        ratio_to_16=node["ratio_to_16"].amount(),
    )


def _metrics(path: Path) -> tuple[Epoch, ...]:
    """The epochs that the folder tells of; a folder without the file tells of none."""
    if not path.is_file():
        return ()
    return tuple(
        Epoch(
            epoch=line["epoch"].amount(),
            loss=line["loss"].number(),
            test_accuracy=line["test_accuracy"].share(),
        )
        for line in read_lines(path)
    )
