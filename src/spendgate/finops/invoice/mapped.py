"""Any CSV or JSON lines, read by a mapping that names its columns. Pure.

```yaml
columns: {day: Date, model: Product, kind: Meter, cost: Net, tokens: Quantity, requests: Calls}
cost_unit: usd            # or cents
tokens_per_unit: 1000
kinds: {"Prompt": input, "Answer": output}
models: {"Big Model (EU)": gpt-4o}
```

`columns.day`, `model` and `cost` are needed. `models` also renames what the readers of providers find.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from spendgate.errors import ConfigurationError, Fault
from spendgate.finops.invoice.line import BadInvoice, Line, Row, amount, count, day_of, kind_of
from spendgate.usage import KINDS

FIELDS = ("day", "model", "kind", "cost", "tokens", "requests")
NEEDED = ("day", "model", "cost")
UNITS = {"usd": Decimal(1), "cents": Decimal("0.01")}


@dataclass(frozen=True, slots=True)
class ColumnMap:
    """A mapping, checked."""

    columns: Mapping[str, str] = field(default_factory=dict)
    cost_unit: str = "usd"
    tokens_per_unit: int = 1
    kinds: Mapping[str, str] = field(default_factory=dict)
    models: Mapping[str, str] = field(default_factory=dict)


def parse_mapping(document: Any, where: str) -> ColumnMap:
    """Check a mapping. Raises ConfigurationError with every fault."""
    faults: list[Fault] = []
    if not isinstance(document, dict):
        raise ConfigurationError([Fault(where, 0, "", "is not a mapping", "name `columns` or `models` in it")])
    for name in document.keys() - {"columns", "cost_unit", "tokens_per_unit", "kinds", "models"}:
        faults.append(Fault(where, 0, str(name), "is not known", "take it out"))
    columns = document.get("columns") or {}
    if not isinstance(columns, dict) or columns.keys() - set(FIELDS):
        faults.append(Fault(where, 0, "columns", f"{columns!r}", f"map {', '.join(FIELDS)} to column names"))
    elif columns and (missing := [n for n in NEEDED if n not in columns]):
        faults.append(Fault(where, 0, f"columns.{missing[0]}", "is missing", "name its column"))
    unit = document.get("cost_unit", "usd")
    if unit not in UNITS:
        faults.append(Fault(where, 0, "cost_unit", f"{unit!r} is none of {', '.join(UNITS)}", "choose one"))
    per = document.get("tokens_per_unit", 1)
    if type(per) is not int or per < 1:
        faults.append(Fault(where, 0, "tokens_per_unit", f"{per!r} is not a whole number from 1 on", "mend it"))
    kinds = document.get("kinds") or {}
    if not isinstance(kinds, dict) or any(k not in KINDS for k in kinds.values()):
        faults.append(Fault(where, 0, "kinds", f"{kinds!r}", f"map texts to {', '.join(KINDS)}"))
    models = document.get("models") or {}
    if not isinstance(models, dict) or not all(isinstance(m, str) for m in models.values()):
        faults.append(Fault(where, 0, "models", f"{models!r}", "map the invoice's names to metered models"))
    if faults:
        raise ConfigurationError(faults)
    return ColumnMap(columns, unit, per, kinds, {str(k): m for k, m in models.items()})


def read(rows: list[tuple[int, Row]], where: str, mapping: ColumnMap) -> list[Line]:
    """The lines of one file. Raises BadInvoice."""
    if not mapping.columns:
        raise BadInvoice(where, 0, "", "needs a mapping of its columns", "give --map FILE with `columns`")
    out = []
    for number, row in rows:

        def at(name: str, row: Row = row, number: int = number) -> Any:
            column = mapping.columns.get(name)
            if column is None:
                return None
            if column not in row:
                raise BadInvoice(where, number, column, "is no column of it", f"mend columns.{name}")
            return row[column]

        meter = str(at("kind") or "")
        out.append(
            Line(
                day_of(at("day"), where, number, mapping.columns["day"]),
                str(at("model")),
                mapping.kinds.get(meter) or kind_of(meter),
                amount(at("cost"), where, number, mapping.columns["cost"]) * UNITS[mapping.cost_unit],
                count(at("tokens"), where, number, "tokens") * mapping.tokens_per_unit,
                count(at("requests"), where, number, "requests"),
            )
        )
    return out
