"""The energy table in other tools' formats, read back, by the tools' own parsers where they are."""

import csv
import importlib.metadata
import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from flows.table import EnergyTable
from flows.table_export import FORMATS, export, main

TABLE = EnergyTable.load()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    export(TABLE, FORMATS, "nominal", place)
    return place


def test_accelergy_finds_every_row_of_the_table(folder: Path) -> None:
    """Looked up as the plug-in does: the first row whose columns equal the attributes, as texts."""
    with (folder / "accelergy/data/intmac.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(TABLE.rows)
    for row in TABLE.rows:
        attributes = {
            "technology": "45nm", "scheme": row.scheme, "w_bits": row.w_bits,
            "a_bits": row.a_bits, "stimulus": row.stimulus, "supply": row.supply,
        }  # fmt: skip
        found = next(r for r in rows if all(r[k] == str(v) for k, v in attributes.items()))
        assert float(found["energy"]) == pytest.approx(row.energy_fj / 1000, rel=1e-5)
        assert found["action"] == "mac_random"
    head = (folder / "accelergy/quanos.table.yaml").read_text(encoding="utf-8")
    for key in ("name: quanos", "technology: 45nm", "accuracy: ", "path_to_data_dir: ./data"):
        assert key in head


def qtools_settings() -> ModuleType:
    """qtools' own settings module, without the rest of QKeras, which needs TensorFlow."""
    try:
        files = importlib.metadata.files("qkeras") or []
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("needs qkeras (pip install --no-deps qkeras)")
    path = next(f for f in files if str(f).endswith("qtools/settings.py")).locate()
    spec = importlib.util.spec_from_file_location("qtools_settings", Path(path))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scheme", ["fixed", "dg", "dvafs", "dvafs_st"])
def test_the_polynomials_keep_their_stated_error(scheme: str, folder: Path) -> None:
    settings = json.loads((folder / "qtools.json").read_text(encoding="utf-8"))
    process = settings[f"quanos_{scheme}"]
    polynomial = np.poly1d(process["fpm_mul"])
    errors = []
    for bits in range(1, 17):
        measured = TABLE.row(scheme, bits, bits).energy_fj / 1000
        assert process["mac_pj"][str(bits)] == pytest.approx(measured, abs=1e-6)
        errors.append(abs(polynomial(bits) / measured - 1))
    assert max(errors) == pytest.approx(process["largest_relative_error"], abs=1e-4)
    assert settings["quanos"]["table_sha256"] == TABLE.sha256


@pytest.mark.oracle
def test_qtools_reads_the_settings(folder: Path) -> None:
    settings = json.loads((folder / "qtools.json").read_text(encoding="utf-8"))
    config = qtools_settings().cfg
    config.update("quanos_dvafs", settings)
    process = settings["quanos_dvafs"]
    mac = config.fpm_mul(5) + config.fpm_add(5)
    assert mac == pytest.approx(process["mac_pj"]["5"], rel=process["largest_relative_error"])


@pytest.mark.oracle
def test_zigzag_builds_every_accelerator(folder: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="needs zigzag-dse, of the dependency group oracle")
    validator = pytest.importorskip(
        "zigzag.parser.accelerator_validator",
        reason="needs zigzag-dse, of the dependency group oracle",
    )
    from zigzag.parser.accelerator_factory import AcceleratorFactory

    files = sorted((folder / "zigzag").glob("*.yaml"))
    assert len(files) == 64
    for file in files:
        checked = validator.AcceleratorValidator(yaml.safe_load(file.read_text(encoding="utf-8")))
        assert checked.validate(), file.name
        array = AcceleratorFactory(checked.normalized_data).create().operational_array
        scheme, _, bits = file.stem.rpartition("_")
        row = TABLE.row(scheme, int(bits[:-1]), int(bits[:-1]))
        assert array.unit.energy_cost == pytest.approx(row.energy_fj / 1000, rel=1e-5)


def test_the_command_writes_what_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["table_export", "--formats", "qtools", "--supply", "scaled", "--json"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--out", str(tmp_path)])
    assert main() is None
    files = json.loads(capsys.readouterr().out)["files"]
    assert files == [str(tmp_path / "qtools.json")]
    assert json.loads(Path(files[0]).read_text(encoding="utf-8"))["quanos"]["supply"] == "scaled"
