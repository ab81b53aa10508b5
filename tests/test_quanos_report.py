"""The report says what the run folder says, holds all it shows, and refuses what is no run."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from copy import deepcopy
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.table import EnergyTable, TableError
from quanos.cli import guarded
from quanos.commands.report import Report
from quanos.models import build_model
from quanos.prices import priced
from quanos.report import render, write_report
from quanos.results import read_run

SHAPE = (1, 8, 8)
LAYERS = ("features.0", "features.3", "features.7", "features.10", "features.14", "features.17")
BITS = {"quanos": (8, 7, 6, 5, 4, 3), "16": (16,) * 6, "mean": (6,) * 6}
ACCURACY = {"quanos": 0.9711, "16": 0.9822, "mean": 0.9622}


@cache
def cost(name: str) -> dict[str, Any]:
    """What a column costs, by the shipped table."""
    model = build_model("vgg-small", input_shape=SHAPE, classes=10)
    return priced(model, SHAPE, dict(zip(LAYERS, BITS[name], strict=True)), EnergyTable.load())


def attacked(name: str, attack: str, epsilon: float) -> dict[str, Any]:
    accuracy = ACCURACY[name] - 2 * epsilon
    return {
        "attack": attack,
        "epsilon": epsilon,
        "accuracy": accuracy,
        "adversarial_loss": 2 * epsilon,
    }


def sensed(epoch: int, ans: float, bits: int) -> dict[str, Any]:
    measured = {layer: ans * (n + 1) for n, layer in enumerate(LAYERS)}
    return {"epoch": epoch, "ans": measured, "bits": dict.fromkeys(LAYERS, bits)}


def column(name: str) -> dict[str, Any]:
    paper = [attacked(name, "fgsm", 0.05), attacked(name, "fgsm", 0.1), attacked(name, "pgd", 0.02)]
    strong = [attacked(name, attack, e) for e in (8 / 255, 0.1) for attack in ("pgd", "worst_case")]
    row = {"epsilon": 0.1, "fgsm_accuracy": 0.8, "noise_accuracy": 0.97, "pgd_accuracy": 0.77}
    if name == "quanos":  # a summary of this version; the others' are older
        row |= {"white_box_accuracy": 0.76, "worst_accuracy": 0.75, "survives_rounding": 0.9}
    return {
        "policy": "ans" if name == "quanos" else "uniform",
        "bits": dict(zip(LAYERS, BITS[name], strict=True)),
        "mean_bits": sum(BITS[name]) / 6,
        "epochs": 3,
        "sense_epoch": 1,
        "rounds": [sensed(1, 0.111, 9), sensed(2, 0.132, 5)],
        "ans_final": {layer: 0.123 * (n + 1) for n, layer in enumerate(LAYERS)},
        "clean_accuracy": ACCURACY[name],
        "attacked_images": 450,
        "attacked_clean_accuracy": ACCURACY[name],
        "paper": paper,
        "strong": strong,
        "gate": {
            "verdict": "passes",
            "zero_gradient_share": 0.0,
            "accuracy_at_0.5": 0.01,
            "rows": [row],
            "longer": {"epsilon": 0.1, "before": 0.75, "after": 0.74},
            "absent": {"transfer_seed": "it was not given"},
        },
    } | deepcopy(cost(name))


def summary() -> dict[str, Any]:
    return {
        "schema": "quanos.summary/1",
        "dataset": "digits",
        "model": "vgg-small",
        "input_shape": list(SHAPE),
        "classes": 10,
        "seed": 7,
        "table_sha256": EnergyTable.load().sha256,
        "seconds": {"train": 1.0, "evaluate": 1.0},
        "columns": {name: column(name) for name in BITS},
    }


def write_run(folder: Path, content: Any) -> Path:
    """A run folder as `quanos train` leaves it, with `content` as its summary."""
    lines = [
        json.dumps({"epoch": e, "loss": 0.5, "test_accuracy": 0.9 + e / 100}) for e in (1, 2, 3)
    ]
    for place in (folder, folder / "16"):
        place.mkdir(parents=True)
        (place / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    (folder / "config.toml").write_text('dataset = "digits"\nlr = 0.1234\n')
    origin = {"commit": "0123abcd", "seed": 7, "versions": {"torch": "2.13.0"}, "finished": "now"}
    (folder / "run.json").write_text(json.dumps(origin))
    text = content if isinstance(content, str) else json.dumps(content)
    (folder / "summary.json").write_text(text)
    return folder


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_run(tmp_path / "digits", summary())


def rendered(folder: Path, kind: str = "html") -> str:
    return render([read_run(folder)], EnergyTable.load(), kind)


def words(page: str) -> str:
    """What a reader sees of the page, without its style sheet, no-break spaces as spaces."""
    body = re.sub(r"<style>.*?</style>|<title>.*?</title>", "", page, flags=re.S)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", body)))


def set_at(content: Any, way: tuple[Any, ...], value: Any) -> Any:
    for key in way[:-1]:
        content = content[key]
    content[way[-1]] = value
    return content


CHANGES = [
    (("columns", "quanos", "clean_accuracy"), 0.5432, "54.32"),
    (("columns", "mean", "clean_accuracy"), 0.1234, "12.34"),
    (("columns", "quanos", "bits", "features.3"), 13, "13"),
    (("columns", "quanos", "mean_bits"), 9.87, "9.87"),
    (("columns", "quanos", "rounds", 0, "ans", "features.7"), 0.765, "0.765"),
    (("columns", "quanos", "rounds", 1, "ans", "features.7"), 0.543, "0.543"),
    (("columns", "quanos", "rounds", 0, "bits", "features.7"), 15, "10.00 (epoch 1)"),
    (("columns", "quanos", "rounds", 1, "epoch"), 3, "again after 3"),
    (("columns", "quanos", "ans_final", "features.7"), 0.654, "0.654"),
    (("columns", "16", "paper", 0, "accuracy"), 0.3456, "34.56"),
    (("columns", "16", "strong", 1, "accuracy"), 0.2345, "23.45"),
    (("columns", "16", "strong", 0, "accuracy"), 0.2346, "23.46"),
    (("columns", "16", "energy", 3, "energy_mj"), 0.00765432, "7.654"),
    (("columns", "16", "energy", 3, "ratio_to_16"), 0.4321, "43.2 %"),
    (("columns", "quanos", "memory_gbit"), 0.00098764, "0.9876"),
    (("columns", "quanos", "memory_compression"), 7.89, "7.89"),
    (("columns", "quanos", "gate", "zero_gradient_share"), 0.071, "7.1 %"),
    (("columns", "quanos", "gate", "rows", 0, "white_box_accuracy"), 0.6543, "65.4 %"),
    (("columns", "quanos", "gate", "rows", 0, "worst_accuracy"), 0.6123, "61.2 %"),
    (("columns", "quanos", "gate", "rows", 0, "survives_rounding"), 0.8765, "87.6 %"),
    (("columns", "quanos", "gate", "longer", "after"), 0.5678, "to 56.8 % at epsilon 0.1"),
    (
        ("columns", "quanos", "gate", "absent", "transfer_seed"),
        "nobody had one",
        "another seed's network (nobody had one)",
    ),
    (("dataset",), "fashion-mnist", "fashion-mnist"),
    (("seed",), 4711, "4711"),
]


@pytest.mark.parametrize(("way", "value", "shown"), CHANGES)
def test_page_moves_with_the_summary(
    tmp_path: Path, way: tuple[Any, ...], value: Any, shown: str
) -> None:
    changed = summary()
    set_at(changed, way, value)
    before = rendered(write_run(tmp_path / "a" / "x", summary()))
    after = rendered(write_run(tmp_path / "b" / "x", changed))
    assert words(after).count(shown) > words(before).count(shown)


def test_page_moves_with_metrics_run_and_config(run: Path) -> None:
    before = rendered(run)
    assert "0123abcd" in before
    assert "2.13.0" in before
    assert "0.1234" in before
    metrics = (run / "16" / "metrics.jsonl").read_text()
    (run / "16" / "metrics.jsonl").write_text(metrics.replace("0.91", "0.12"))
    assert rendered(run) != before


def test_headline_says_where_it_lost_and_won(run: Path) -> None:
    text = words(rendered(run))
    assert "97.1 % of digits right, 1.1 points less than the 16-bit network" in text
    assert "1.11 points less clean accuracy than 16 bit" in text
    assert "less clean accuracy than 6 bit" not in text
    ratio = next(
        row["ratio_to_16"]
        for row in cost("quanos")["energy"]
        if (row["scheme"], row["reading"], row["supply"]) == ("dvafs", "measured", "nominal")
    )
    assert f"for {100 * (1 - ratio):.0f} % less energy than at 16 bits on the DVAFS MAC" in text


def test_masked_result_is_never_shown_as_robustness(tmp_path: Path) -> None:
    content = summary()
    content["columns"]["quanos"]["gate"]["verdict"] = "masked: FGSM beats PGD"
    page = rendered(write_run(tmp_path / "run", content))
    text = words(page)
    rows = sum(len(content["columns"]["quanos"][protocol]) for protocol in ("paper", "strong"))
    assert page.count("<small>masked</small>") == rows
    assert "withstand every attack of the strong protocol: 16 bit" in text
    assert "the gate finds the attacks blind (FGSM beats PGD)" in text
    assert "under the worst attack" not in text
    assert text.count("QUANOS (masked: no robustness)") == 3


def test_layers_are_priced_as_the_run_was(run: Path) -> None:
    content = summary()
    assert "Energy of each layer" in words(rendered(run))
    point = ("dvafs", "measured", "nominal")
    for row in content["columns"]["quanos"]["energy"]:
        if (row["scheme"], row["reading"], row["supply"]) == point:
            row["energy_mj"] *= 1.01
    (run / "summary.json").write_text(json.dumps(content))
    assert "Energy of each layer" not in words(rendered(run)), "the layers do not add up to it"


class Links(HTMLParser):
    """Collects what a browser would fetch or follow, and checks that elements are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.tags: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [f"{tag} {k}={v}" for k, v in attrs if k in ("src", "href", "xlink:href")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_page_holds_all_it_shows(run: Path) -> None:
    page = rendered(run)
    links = Links()
    links.feed(page)
    assert links.open == []
    assert links.links == []
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(links.tags)
    assert not re.search(r"https?:|url\(|@import|nan\b", page)
    assert links.tags.count("figure") == 10
    assert 30_000 < len(page.encode()) < 3_000_000


def test_same_files_same_page(run: Path) -> None:
    assert rendered(run) == rendered(run)


NASTY = "<script>alert(1)</script>&\"'"


@pytest.mark.parametrize(
    "way", [("dataset",), ("model",), ("columns", "quanos", "gate", "verdict"), ("column",)]
)
def test_everything_from_files_is_escaped(tmp_path: Path, way: tuple[Any, ...]) -> None:
    content = summary()
    if way == ("column",):
        content["columns"][NASTY] = column("mean")
        content["columns"]["quanos"]["bits"][NASTY] = 4
    else:
        set_at(content, way, NASTY)
    folder = write_run(tmp_path / "<b>run", content)
    (folder / "config.toml").write_text(f"dataset = '''{NASTY}'''\n")
    (folder / "run.json").write_text(json.dumps({NASTY: NASTY, "half": "\ud800"}))
    page = rendered(folder)
    assert "<script" not in page
    assert "<b>run" not in page
    assert "&lt;script&gt;" in page
    page.encode()


def edited(change: Callable[[dict[str, Any]], Any]) -> str:
    content = summary()
    change(content)
    return json.dumps(content)


BROKEN: list[tuple[str, str | None, str]] = [
    ("not finished", None, "has not finished; go on with quanos train --resume"),
    ("empty", "", "is no valid JSON"),
    ("foreign", '{"name": "x"}', "has no 'schema'"),
    ("list", "[1]", "must be an object, not list"),
    ("schema", '{"schema": "other/9"}', "has schema 'other/9'; this version reads"),
    ("deep", "[" * 100_000, "is no valid JSON"),
    ("key", edited(lambda s: s["columns"]["16"].pop("gate")), "columns, 16 has no 'gate'"),
    (
        "type",
        edited(lambda s: set_at(s, ("columns", "16", "clean_accuracy"), "1")),
        "must be a number, not '1'",
    ),
    (
        "nan",
        edited(lambda s: set_at(s, ("columns", "16", "memory_gbit"), float("nan"))),
        "must be a finite number",
    ),
    (
        "share",
        edited(lambda s: set_at(s, ("columns", "16", "clean_accuracy"), 97.1)),
        "must be from 0 to 1, not 97.1",
    ),
    (
        "bits",
        edited(lambda s: set_at(s, ("columns", "16", "bits", "features.0"), 17)),
        "must be bits from 1 to 16, not 17",
    ),
    ("columns", edited(lambda s: s["columns"].clear()), "has no columns"),
]


@pytest.mark.parametrize(
    ("text", "says"), [case[1:] for case in BROKEN], ids=[c[0] for c in BROKEN]
)
def test_what_is_no_run_is_refused_in_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str | None, says: str
) -> None:
    folder = write_run(tmp_path / "run", text or "")
    if text is None:
        (folder / "summary.json").unlink()
    out = tmp_path / "report.html"
    out.write_text("the report before")
    assert guarded(Report(runs=(folder,), out=out).run) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert says in lines[0]
    assert out.read_text() == "the report before"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "run"]


def test_folder_that_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"holds no run; name a folder that quanos train made\."):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
    with pytest.raises(ValueError, match="no run is named"):
        Report(runs=()).run()


def test_place_that_cannot_be_written_is_named(run: Path) -> None:
    with pytest.raises(ValueError, match=r"report\.html cannot be written .*; name another file"):
        write_report([run], run / "run.json" / "report.html")


def test_another_table_is_refused_or_left_out(tmp_path: Path, run: Path) -> None:
    table = EnergyTable.load()
    other = EnergyTable(table.header, table.rows[1:])
    other.save(tmp_path / "other.json")
    out = tmp_path / "report.html"
    with pytest.raises(ValueError, match=r"was priced with energy table .* name the table"):
        write_report([run], out, table_path=tmp_path / "other.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(TableError):
        write_report([run], out, table_path=tmp_path / "broken.json")
    assert not out.exists()
    content = summary() | {"table_sha256": "0" * 64}
    (run / "summary.json").write_text(json.dumps(content))
    write_report([run], out)
    text = words(out.read_text())
    assert "is not the one that priced the run; name it with --table" in text
    assert "Energy of each layer" not in text


def test_command_writes_and_answers_in_json(
    tmp_path: Path, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "deep" / "report.html"
    Report(runs=(run,), out=out, json=True).run()
    answer = json.loads(capsys.readouterr().out)
    assert answer == {
        "out": str(out),
        "format": "html",
        "bytes": out.stat().st_size,
        "runs": [str(run)],
    }


def test_several_runs_side_by_side(tmp_path: Path, run: Path) -> None:
    other = write_run(tmp_path / "other", summary())
    page = render([read_run(run), read_run(other)], EnergyTable.load(), "html")
    assert "2 runs" in words(page)
    assert page.count("<h2>Results</h2>") == 2


def test_other_formats_hold_the_same_numbers(run: Path) -> None:
    holds = json.loads(rendered(run, "json"))["runs"][0]
    assert holds["summary"] == summary()
    rows = list(csv.DictReader(rendered(run, "csv").splitlines()))
    energies = [row for row in rows if row["group"].startswith("Energy")]
    assert len(energies) == 3 * len(cost("16")["energy"])
    clean = {r["network"]: float(r["value"]) for r in rows if r["quantity"] == "clean accuracy"}
    assert clean == {name: pytest.approx(100 * value) for name, value in ACCURACY.items()}
    assert "| Network: clean accuracy | % | 97.11 | 98.22 | 96.22 |" in rendered(run, "markdown")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=4,
)


def ways(content: Any) -> list[tuple[Any, ...]]:
    """All places inside a JSON value."""
    found: list[tuple[Any, ...]] = []
    entries = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in entries:
        found.append((key,))
        if isinstance(value, dict | list):
            found += [(key, *inner) for inner in ways(value)]
    return found


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_mutated_summary_gives_a_page_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    content = summary()
    set_at(content, data.draw(st.sampled_from(ways(content))), data.draw(values))
    folder = write_run(tmp_path_factory.mktemp("fuzz") / "run", content)
    try:
        told = render([read_run(folder)], EnergyTable.load(), "html").rstrip()
    except ValueError as error:
        told = str(error)
    one_sentence = len(told.splitlines()) == 1
    assert one_sentence or told.endswith("</html>"), "neither a whole page nor one sentence"
