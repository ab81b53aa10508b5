"""The energy table: what one multiply-accumulate costs, by scheme, bits, stimulus and supply.

`flows.measure` writes it, `quanos` prices networks with it. This module needs the standard
library alone, so that training works where no hardware tool is installed.

Units are in the names: fJ, ps, V, um2. A row that is absent is an error that names the rows which
are there; no neighbour's value is ever returned in its place.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from dataclasses import asdict, dataclass, field, fields
from importlib import resources
from pathlib import Path
from typing import Any, Self

SCHEMA = "quanos.energy_table/1"
SCHEMES = ("fixed", "dg", "dvafs", "dvafs_st")
ORIGINS = ("netlist", "interpolated", "literature")
SUPPLIES = ("nominal", "scaled")
MAX_BITS = 16
LARGEST = 1e15  # beyond it, no quantity of ours is what it should be


class TableError(ValueError):
    """An energy table that cannot be trusted, or a row that it does not hold."""


@dataclass(frozen=True, kw_only=True)
class EnergyRow:
    """Energy of one useful multiply-accumulate (MAC) at one operating point.

    `energy_fj` is the sum of switching, internal, clock and leakage energy, each in fJ per MAC:
    registers and clock pins are in, array overheads are not. `glitch_fj` is the part of it that
    zero-delay simulation would miss, `ci95_fj` the half width of its 95 % confidence interval.
    `supply` is "nominal", or "scaled" for the lowest supply that keeps the throughput.
    """

    scheme: str
    w_bits: int
    a_bits: int
    stimulus: str
    supply: str
    energy_fj: float
    switching_fj: float
    internal_fj: float
    clock_fj: float
    leakage_fj: float
    glitch_fj: float
    ci95_fj: float
    macs_per_cycle: int
    critical_path_ps: float
    clock_ps: float
    vdd_v: float
    area_um2: float
    cells: int
    origin: str

    @property
    def key(self) -> tuple[str, int, int, str, str]:
        """What identifies the row: scheme, w_bits, a_bits, stimulus, supply."""
        return self.scheme, self.w_bits, self.a_bits, self.stimulus, self.supply

    def check(self) -> None:
        """Refuse a row with a word, width or number that cannot be."""
        where = f"energy table row {self.key}"
        for name, allowed in (("scheme", SCHEMES), ("supply", SUPPLIES), ("origin", ORIGINS)):
            if getattr(self, name) not in allowed:
                raise TableError(
                    f"{where}: {name} {getattr(self, name)!r} is not one of {', '.join(allowed)}."
                )
        for name in ("w_bits", "a_bits"):
            bits = getattr(self, name)
            if type(bits) is not int or not 1 <= bits <= MAX_BITS:
                raise TableError(
                    f"{where}: {name} must be a whole number from 1 to {MAX_BITS}, not {bits!r}."
                )
        for name, value in vars(self).items():  # asdict would copy, and there are many rows
            if name in ("scheme", "stimulus", "supply", "origin"):
                if not isinstance(value, str):
                    raise TableError(f"{where}: {name} must be a text, not {value!r}.")
            elif isinstance(value, bool) or not isinstance(value, int | float):
                raise TableError(f"{where}: {name} must be a number, not {value!r}.")
            elif not 0 <= value <= LARGEST:  # false for a NaN
                raise TableError(f"{where}: {name} must be finite and not negative, not {value}.")
        if self.macs_per_cycle < 1:
            raise TableError(f"{where}: macs_per_cycle must be at least 1.")
        parts = self.switching_fj + self.internal_fj + self.clock_fj + self.leakage_fj
        if not math.isclose(parts, self.energy_fj, rel_tol=1e-6, abs_tol=1e-6):
            raise TableError(
                f"{where}: energy_fj is {self.energy_fj:g}, but its parts add up to {parts:g}."
            )


@dataclass(frozen=True, kw_only=True)
class TableHeader:
    """Where every number of the table comes from."""

    library: str
    library_sha256: str
    nominal_vdd_v: float
    temperature_c: float
    netlist_sha256: dict[str, str]
    tools: dict[str, str]
    seed: int
    vectors: int
    delay_model: str
    voltage_model: str
    date: str
    notes: dict[str, Any] = field(default_factory=dict)

    def check(self) -> None:
        """Refuse a header with a value of another kind."""
        kinds = {"str": str, "int": int, "float": int | float}
        for item in fields(self):
            value, kind = getattr(self, item.name), kinds.get(str(item.type), dict)
            finite = not isinstance(value, int | float) or abs(value) <= LARGEST
            if not isinstance(value, kind) or isinstance(value, bool) or not finite:
                raise TableError(
                    f"energy table header: {item.name} must be of type {item.type}, not {value!r}."
                )


@dataclass(frozen=True)
class EnergyTable:
    """A checked energy table; look rows up with `row`, save it with `save`."""

    header: TableHeader
    rows: tuple[EnergyRow, ...]

    def __post_init__(self) -> None:
        self.header.check()
        index: dict[tuple[str, int, int, str, str], EnergyRow] = {}
        for row in self.rows:
            row.check()
            if row.key in index:
                raise TableError(f"energy table row {row.key} is there twice.")
            index[row.key] = row
        if not index:
            raise TableError("the energy table has no rows; make one with `nox -s energy`.")
        object.__setattr__(self, "_index", index)

    def row(
        self,
        scheme: str,
        w_bits: int,
        a_bits: int,
        *,
        stimulus: str = "uniform",
        supply: str = "nominal",
    ) -> EnergyRow:
        """The row of one operating point.

        Raises TableError, naming the rows that are there, where the table does not hold it.
        """
        key = (scheme, w_bits, a_bits, stimulus, supply)
        index: dict[tuple[str, int, int, str, str], EnergyRow] = self._index  # type: ignore[attr-defined]
        if key in index:
            return index[key]
        kin = sorted({(r.w_bits, r.a_bits) for r in self.rows if r.key[0::3] == key[0::3]})
        if kin:
            there = f"for {scheme} and {stimulus} it has (w_bits, a_bits) = {kin} at supplies " + (
                ", ".join(sorted({r.supply for r in self.rows if r.key[0::3] == key[0::3]}))
            )
        else:
            pairs = sorted({(r.scheme, r.stimulus) for r in self.rows})
            there = f"it has (scheme, stimulus) = {pairs}"
        raise TableError(
            f"the energy table has no row for scheme {scheme}, w_bits {w_bits}, a_bits {a_bits}, "
            f"stimulus {stimulus}, supply {supply}; {there}."
        )

    @property
    def sha256(self) -> str:
        """Hash of header and rows in canonical form: the table's identity in a run's `run.json`."""
        return hashlib.sha256(_canonical(self._content())).hexdigest()

    def _content(self) -> dict[str, Any]:
        return {"header": asdict(self.header), "rows": [vars(row) for row in self.rows]}

    def save(self, path: Path | str) -> None:
        """Write the table as JSON, beside the place and then renamed onto it."""
        path = Path(path)
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {"schema": SCHEMA, "sha256": self.sha256, **self._content()}
        beside = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            beside.write_text(_pretty(content), encoding="utf-8")
            beside.replace(path)
        except OSError as error:
            error.filename = str(path)  # a full disk names no file
            raise
        finally:
            beside.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: Path | str | None = None) -> Self:
        """Read a table; without a path, the one that ships with the package.

        Raises TableError for a file that is missing, no JSON, of another schema, altered since it
        was written (hash), incomplete, or holding a NaN, a negative number or an unknown word.
        """
        name = str(path) if path is not None else "the shipped energy table"
        try:
            text = (
                Path(path).read_text(encoding="utf-8")
                if path is not None
                else resources.files("flows").joinpath("energy_table.json").read_text("utf-8")
            )
        except (OSError, UnicodeDecodeError) as error:
            raise TableError(
                f"{name} cannot be read ({error}); make one with `nox -s energy`."
            ) from None
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:  # a whole number may have 4300 digits
            raise TableError(f"{name} is not a JSON file ({error}).") from None
        return cls._from_json(data, name)

    @classmethod
    def _from_json(cls, data: Any, name: str) -> Self:
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            found = data.get("schema") if isinstance(data, dict) else type(data).__name__
            raise TableError(f"{name} has schema {found!r}; this version reads {SCHEMA!r}.")
        try:
            header = TableHeader(**_exact(TableHeader, data["header"]))
            rows = tuple(EnergyRow(**_exact(EnergyRow, row)) for row in data["rows"])
        except (KeyError, TypeError) as error:
            raise TableError(f"{name} is incomplete or holds unknown keys ({error}).") from None
        try:
            table = cls(header, rows)
        except TableError as error:
            raise TableError(f"{name}: {error}") from None
        if data.get("sha256") != table.sha256:
            raise TableError(f"{name} was altered after it was written: its hash does not match.")
        return table


def _exact(kind: type, data: Any) -> dict[str, Any]:
    """The keys of `data` if they are those of the dataclass `kind`; TypeError otherwise."""
    if not isinstance(data, dict):
        raise TypeError(f"{kind.__name__} must be an object")
    if unknown := sorted(set(data) - {f.name for f in fields(kind)}):
        raise TypeError(f"{kind.__name__} has no {', '.join(unknown)}")
    return data


def _canonical(content: dict[str, Any]) -> bytes:
    return json.dumps(content, sort_keys=True, separators=(",", ":")).encode()


def _pretty(content: dict[str, Any]) -> str:
    """JSON with one row a line: readable, and a change of one row is a change of one line."""
    rows = ",\n  ".join(json.dumps(row) for row in content["rows"])
    head = json.dumps({k: v for k, v in content.items() if k != "rows"}, indent=1)
    return f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'
