"""Any CSV, JSON lines or Parquet, read by a mapping that names its columns. Pure.

```yaml
columns: {day: Date, model: Product, kind: Meter, cost: Net, tokens: Quantity, requests: Calls, currency: Cur}
cost_unit: usd            # or cents
tokens_per_unit: 1000
dates: dmy                # what 03/10/2026 is: dmy or mdy
kinds: {"Prompt": input, "Answer": output}
models: {"Big Model (EU)": gpt-4o}
```

`columns.day`, `model` and `cost` are needed. In a wide table `tokens` (and `cost`) name a column a kind:
`tokens: {input: Prompt Tokens, output: Completion Tokens}`. `models` also renames what the readers of providers find.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from decimal import Decimal
from typing import Any

from spendgate.errors import ConfigurationError, Fault
from spendgate.finops.invoice.days import ORDERS
from spendgate.finops.invoice.line import USAGE, Line, Row
from spendgate.finops.invoice.names import charge_of, kind_of
from spendgate.finops.invoice.source import NoLine, Source
from spendgate.usage import KINDS
from spendgate.values import dataclass

FIELDS = ("day", "model", "kind", "cost", "tokens", "requests", "currency")
WIDE = ("tokens", "cost")
NEEDED = ("day", "model", "cost")
UNITS = {"usd": Decimal(1), "cents": Decimal("0.01")}
_ID = re.compile(r"\S*\d\S*")


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """A mapping, checked. `wide` are columns by field and kind."""

    columns: Mapping[str, str] = field(default_factory=dict)
    cost_unit: str = "usd"
    tokens_per_unit: int = 1
    kinds: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)
    wide: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    dates: str = ""


def parse_mapping(document: Any, where: str) -> ColumnMap:
    """Check a mapping. Raises ConfigurationError with every fault."""
    faults: list[Fault] = []
    if not isinstance(document, dict):
        raise ConfigurationError(
            [Fault(where, 0, "", "is not a mapping", "name `columns` or `models` in it")]
        )
    for name in document.keys() - {"columns", "cost_unit", "tokens_per_unit", "kinds", "models", "dates"}:
        faults.append(Fault(where, 0, str(name), "is not known", "take it out"))
    plain, wide = _columns(document.get("columns") or {}, where, faults)
    unit = document.get("cost_unit", "usd")
    if unit not in UNITS:
        faults.append(Fault(where, 0, "cost_unit", f"{unit!r} is none of {', '.join(UNITS)}", "choose one"))
    per = document.get("tokens_per_unit", 1)
    if type(per) is not int or per < 1:
        faults.append(
            Fault(where, 0, "tokens_per_unit", f"{per!r} is not a whole number from 1 on", "mend it")
        )
    kinds = document.get("kinds") or {}
    if not isinstance(kinds, dict) or any(k not in KINDS for k in kinds.values()):
        faults.append(Fault(where, 0, "kinds", f"{kinds!r}", f"map texts to {', '.join(KINDS)}"))
    models = document.get("models") or {}
    if not isinstance(models, dict) or not all(isinstance(m, str) for m in models.values()):
        faults.append(Fault(where, 0, "models", f"{models!r}", "map the invoice's names to metered models"))
    dates = document.get("dates", "")
    if dates not in ("", *ORDERS):
        faults.append(Fault(where, 0, "dates", f"{dates!r} is none of {', '.join(ORDERS)}", "choose one"))
    if faults:
        raise ConfigurationError(faults)
    return ColumnMap(plain, unit, per, kinds, {str(k): m for k, m in models.items()}, wide, dates)


def _columns(
    columns: Any, where: str, faults: list[Fault]
) -> tuple[dict[str, str], dict[str, Mapping[str, str]]]:
    """The column of each field, and those of fields that have one a kind."""
    plain: dict[str, str] = {}
    wide: dict[str, Mapping[str, str]] = {}
    if not isinstance(columns, dict) or columns.keys() - set(FIELDS):
        faults.append(Fault(where, 0, "columns", f"{columns!r}", f"map {', '.join(FIELDS)} to column names"))
        return plain, wide
    if columns and (missing := [n for n in NEEDED if n not in columns]):
        faults.append(Fault(where, 0, f"columns.{missing[0]}", "is missing", "name its column"))
    for name, column in columns.items():
        if not isinstance(column, dict):
            plain[name] = str(column)
        elif name in WIDE and column and all(k in KINDS for k in column):
            wide[name] = {k: str(c) for k, c in column.items()}
        else:
            faults.append(Fault(where, 0, f"columns.{name}", f"{column!r}", _wide_remedy(name)))
    return plain, wide


def _wide_remedy(name: str) -> str:
    if name in WIDE:
        return f"name a column, or one a kind of {', '.join(KINDS)}"
    return "name one column"


def lines(row: Row, source: Source, mapping: ColumnMap) -> Iterator[Line]:
    """What a row bills. Raises BadInvoice, NoLine."""

    def cell(column: str, name: str) -> Any:
        if column not in row:
            has = ", ".join(map(str, row))[:300]
            raise source.bad(column, "is no column of it", f"mend columns.{name}; it has {has}")
        return row[column]

    def at(name: str) -> Any:
        column = mapping.columns.get(name)
        return None if column is None else cell(column, name)

    at("day")
    day = source.day(row, mapping.columns["day"])
    model = str(at("model") or "").strip()
    if not model:
        source.totals += 1
        raise NoLine
    meter = str(at("kind") or "")
    kind = mapping.kinds.get(meter) or kind_of(meter)
    charge = USAGE if model in mapping.models or _ID.fullmatch(model) else charge_of(model)
    unit = UNITS[mapping.cost_unit]
    requests = source.count(at("requests"), "requests")
    currency = at("currency")
    costs = mapping.wide.get("cost")
    if costs is None:
        cost = source.usd(at("cost"), currency, mapping.columns["cost"]) * unit
        counted = source.count(at("tokens"), "tokens") * mapping.tokens_per_unit
        yield Line(day, model, kind, cost, counted, requests, charge=charge)
    else:
        for of, column in costs.items():
            cost = source.usd(cell(column, "cost"), currency, column) * unit
            yield Line(day, model, of, cost, requests=requests, charge=charge)
            requests = 0
    for of, column in mapping.wide.get("tokens", {}).items():
        n = source.count(cell(column, "tokens"), column) * mapping.tokens_per_unit
        if n:
            yield Line(day, model, of, tokens=n, charge=charge, amounts=0)
