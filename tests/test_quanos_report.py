"""The report says what the run folder says, holds all it shows, and refuses what is no run."""

from __future__ import annotations

import csv
import html
import json
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from finished_run import ACCURACY, BITS, LAYERS, column, cost, summary, write_run
from hypothesis import given, settings
from hypothesis import strategies as st

from flows.table import SCHEMES, EnergyTable, TableError
from quanos.cli import guarded
from quanos.commands.report import Report
from quanos.report import render, write_report
from quanos.reporting.beside import short_names
from quanos.results import read_run


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


def measured(path: Path, left_out: str = "") -> Path:
    """Energies of the run's layers on their own operands: a quarter of uniform ones'."""
    shipped = EnergyTable.load()
    rows = [
        replace(row, stimulus=layer, energy_fj=row.energy_fj / 4, switching_fj=row.switching_fj / 4,
                internal_fj=row.internal_fj / 4, clock_fj=row.clock_fj / 4,
                leakage_fj=row.leakage_fj / 4)
        for layer, bits in zip(LAYERS, BITS["quanos"], strict=True)
        if layer != left_out
        for row in (shipped.row(scheme, bits, bits) for scheme in SCHEMES)
    ]  # fmt: skip
    EnergyTable(shipped.header, (*shipped.rows, *rows)).save(path)
    return path


@pytest.mark.parametrize("lies_in_the_run", [True, False])
def test_layers_on_their_own_operands(run: Path, tmp_path: Path, lies_in_the_run: bool) -> None:
    """Named, or found in the run's folder; without either the page has no such table."""
    title = "Layers on their own operands"
    assert title not in words(rendered(run))
    own = None if lies_in_the_run else tmp_path / "own.json"
    measured(own or run / "network_table.json")
    page = words(render([read_run(run)], EnergyTable.load(), "html", own))
    assert title in page
    row = EnergyTable.load().row("dvafs", 7, 7)
    assert f"features.3 7 {EnergyTable.load().row('fixed', 7, 7).energy_fj / 4:,.0f} (0.25)" in page
    assert f"{row.energy_fj / 4:,.0f} (0.25)" in page
    assert re.search(r"dvafs \S+ µJ against \S+", page)


def test_a_table_without_a_layer_is_refused(run: Path, tmp_path: Path) -> None:
    own = measured(tmp_path / "own.json", left_out="features.7")
    with pytest.raises(TableError, match=r"features\.7"):
        render([read_run(run)], EnergyTable.load(), "html", own)


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
    lost = text.partition("Where QUANOS lost")[2].partition("Layers")[0]
    assert "1.11 points less clean accuracy" in lost.partition(" than 16 bit")[0]
    assert "clean accuracy" not in lost.partition(" than 16 bit")[2]
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


WEAK = "3 times the steps and restarts still take 4.0 points at epsilon 0.1"
UNREAD = "accuracy under attack is no robustness"


@pytest.mark.parametrize(
    ("verdict", "clean", "says", "silent"),
    [
        ("passes", 0.97, ["passes: no sign of masked gradients"], [UNREAD, "hardly learnt"]),
        ("passes", 0.12, ["12.0 % of the clean images, where guessing reaches 10.0 %"], [UNREAD]),
        (
            f"masked: {WEAK}",
            0.97,
            ["more steps and restarts (strong_steps,", "too weak ("],
            ["bli"],
        ),
        ("masked: FGSM beats PGD", 0.97, ["cannot see through this network"], ["more steps and"]),
        (f"masked: {WEAK}; FGSM beats PGD", 0.97, ["cannot see through"], ["more steps and"]),
    ],
)
def test_a_verdict_says_what_it_means_and_what_to_do(
    tmp_path: Path, verdict: str, clean: float, says: list[str], silent: list[str]
) -> None:
    content = summary()
    content["columns"]["quanos"] |= {"clean_accuracy": clean}
    content["columns"]["quanos"]["gate"]["verdict"] = verdict
    text = words(rendered(write_run(tmp_path / "run", content)))
    text = text.partition("What the words mean")[0]
    assert "and more than " not in text  # 450 images are enough
    assert [part for part in says if part not in text] == []
    assert [part for part in silent if part in text] == []


def test_accuracies_that_are_all_alike_end_at_100_percent(tmp_path: Path) -> None:
    content = summary()
    for one in content["columns"].values():
        one["clean_accuracy"] = 1.0
    page = rendered(write_run(tmp_path / "run", content))
    assert ">100 %<" in page
    assert ">120 %<" not in page


@pytest.mark.parametrize("name", ["folder", "tensors"])
def test_a_data_set_of_ones_own_is_no_name(tmp_path: Path, name: str) -> None:
    folder = write_run(tmp_path / "run", summary() | {"dataset": name})
    assert "classifies 97.1 % of its test images right" in words(rendered(folder))


def test_a_network_that_is_not_known_says_how_to_show_its_layers(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", summary() | {"model": "ginkgo"})
    assert "quanos --import MODULE report" in words(rendered(folder))


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
    assert links.links == ["a href=#words"]
    assert not {"script", "link", "img", "iframe", "object", "base"} & set(links.tags)
    assert not re.search(r"https?:|url\(|@import|nan\b", page)
    assert links.tags.count("figure") == 12
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
    ("not finished", None, "has not finished; go on with quanos train --out "),
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


def test_a_baselines_folder_names_the_run(run: Path) -> None:
    (run / "16").mkdir(exist_ok=True)
    (run / "16" / "config.toml").touch()
    with pytest.raises(ValueError, match=rf"16 is a network of the run {run}; name that"):
        read_run(run / "16")


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
    content = summary()
    content["columns"]["quanos"]["bits"]["features.3"] = 13
    content["columns"]["quanos"]["clean_accuracy"] = 0.9444
    other = write_run(tmp_path / "other", content)
    page = render([read_run(run), read_run(other)], EnergyTable.load(), "html")
    links = Links()
    links.feed(page)
    assert links.links == ["a href=#words", "a href=#run-1", "a href=#run-2"]
    assert [f'id="run-{number}"' in page for number in (1, 2, 3)] == [True, True, False]
    assert page.count("<h2>Results</h2>") == 2
    beside = words(page.partition('id="run-1"')[0])
    assert "2 runs side by side" in beside
    for shown in ("97.11", "94.44", "features.3 7 13", "digits, QUANOS", "other, 16 bit"):
        assert shown in beside


def test_the_front_of_the_page_is_that_of_the_sweep(run: Path) -> None:
    """Where one network is better and cheaper, the line starts and ends at it."""
    content = summary()
    content["columns"]["quanos"]["clean_accuracy"] = 0.999
    page = render([read_run(write_run(run.parent / "best", content))], EnergyTable.load(), "html")
    figure = page.partition("<h3>Clean accuracy against energy, digits</h3>")[2].partition(
        "</figure>"
    )[0]
    (front,) = re.findall(r'd="M([^"]*)" class="line s4 dashed"', figure.partition("</ul>")[2])
    assert "L" not in front
    assert len(re.findall('class="spot"', figure)) == 3


def test_fronts_of_two_data_sets_are_drawn_apart(run: Path) -> None:
    content = summary() | {"dataset": "cifar10"}
    both = [read_run(run), read_run(write_run(run.parent / "other", content))]
    page = render(both, EnergyTable.load(), "html").partition('id="run-1"')[0]
    for title in ("Clean accuracy", "Accuracy under the strong protocol"):
        figures = re.findall(rf"<h3>{title} against energy, (\w+)</h3>(.*?)</figure>", page, re.S)
        assert [name for name, _ in figures] == ["digits", "cifar10"]
        shown = [("digits, QUANOS" in words(f), "other, QUANOS" in words(f)) for _, f in figures]
        assert shown == [(True, False), (False, True)]


def test_a_masked_network_has_no_place_on_the_robust_front(run: Path) -> None:
    content = summary()
    content["columns"]["quanos"]["gate"]["verdict"] = "masked: FGSM beats PGD"
    page = render([read_run(write_run(run.parent / "mask", content))], EnergyTable.load(), "html")
    title = "<h3>Accuracy under the strong protocol against energy, digits</h3>"
    figure = words(page.partition(title)[2].partition("</figure>")[0])
    assert "mask, 16 bit" in figure
    assert "mask, QUANOS" not in figure


@pytest.mark.parametrize(
    ("folders", "names"),
    [
        (["runs/a"], ["a"]),
        (["runs/a", "runs/b"], ["a", "b"]),
        (["x/runs/a", "y/runs/a"], ["x/runs/a", "y/runs/a"]),
        (["runs/a", "runs/a"], ["a (1)", "a (2)"]),
        (["runs/a", "runs/a/b"], ["a", "a/b"]),
    ],
)
def test_runs_are_called_by_what_tells_them_apart(tmp_path, folders, names) -> None:
    for folder in sorted(set(folders)):
        write_run(tmp_path / folder, summary())
    assert short_names([read_run(tmp_path / folder) for folder in folders]) == names


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


@settings(max_examples=60)
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
