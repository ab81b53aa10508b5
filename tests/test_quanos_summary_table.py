"""The table that ends `quanos train`."""

from pathlib import Path

import pytest

from quanos.reporting.summary_table import print_summary, rows


def column(energy: list[tuple[str, float]]) -> dict[str, object]:
    """A network's column with measured energies, as (scheme, ratio to 16 bits)."""
    return {
        "bits": {"a": 4},
        "mean_bits": 4.0,
        "clean_accuracy": 1.0,
        "paper": [],
        "strong": [],
        "gate": {"verdict": "passes"},
        "rounds": [],
        "memory_gbit": 0.001,
        "energy": [
            {"scheme": s, "reading": "measured", "supply": "nominal", "ratio_to_16": ratio}
            for s, ratio in energy
        ],
    }


def test_an_energy_that_one_network_lacks_shifts_no_other() -> None:
    columns = {"quanos": column([("dvafs", 0.2)]), "mean": column([("dg", 0.4), ("dvafs", 0.3)])}
    table = dict(rows(columns))
    assert table["energy, % of 16 bit: dvafs, nominal"] == ["20.0", "30.0"]
    assert table["energy, % of 16 bit: dg, nominal"] == ["-", "40.0"]


def test_a_scheme_that_the_table_cannot_price_is_told_with_the_reason(
    capsys: pytest.CaptureFixture[str],
) -> None:
    mean = column([("dg", 0.4)]) | {"energy_missing": {"dvafs": "no row [4, 4]."}}
    columns = {"quanos": column([("dg", 0.2)]) | {"energy_missing": {}}, "mean": mean}
    head = {"dataset": "digits", "model": "net", "seed": 0}
    print_summary({**head, "columns": columns}, Path("run"))
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "no energy by dvafs: no row [4, 4].",
        "run folder run",
    ]


def test_what_a_masked_network_withstands_is_not_told() -> None:
    """Its accuracy under attack is no robustness, and must not look like any."""
    row = {"attack": "worst_case", "epsilon": 0.1, "accuracy": 0.875}
    honest = column([]) | {"strong": [row]}
    masked = column([]) | {"strong": [row], "gate": {"verdict": "masked: why"}}
    other = column([])  # without this attack
    table = dict(rows({"a": honest, "b": masked, "c": other}))
    assert table["strong: worst_case at 0.100, %"] == ["87.50", "masked", "-"]
    assert table["gate"] == ["passes", "masked: why", "passes"]
    assert table["clean accuracy, %"] == ["100.00"] * 3


def test_rounds_that_were_judged_are_counted() -> None:
    kept = column([]) | {"rounds": [{"after": {}}, {"after": {}}]}
    undone = column([]) | {"rounds": [{"after": {}}, {"after": {}, "stopped": "why"}]}
    assert dict(rows({"a": kept, "b": undone}))["rounds kept"] == ["2 of 2", "1 of 2"]
    assert "rounds kept" not in dict(rows({"a": column([])}))
