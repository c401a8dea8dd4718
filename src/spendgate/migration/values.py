"""Reading JSON and YAML of other programs: plain values, exact decimals, clear errors. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from decimal import Decimal, InvalidOperation
from typing import Any

from spendgate.budget.yaml_lines import read_documents
from spendgate.errors import ConfigurationError
from spendgate.migration.drafts import Note

Json = dict[str, Any]


def parsed(text: str, path: str) -> list[Any]:
    """The documents of a text, JSON or YAML. Raises ConfigurationError."""
    try:
        return [json.loads(text, parse_float=Decimal)]
    except json.JSONDecodeError:
        found, faults = read_documents(text, path)
        if faults:
            raise ConfigurationError(faults) from None
        if not found:
            raise ConfigurationError(f"{path}: is empty") from None
        return [document.data for document in found]


def objects(value: Any, where: str) -> Iterator[tuple[str, Json]]:
    """The objects of a list, each with its place. Raises ConfigurationError for anything else."""
    if not isinstance(value, list):
        raise ConfigurationError(f"{where}: is not a list")
    for i, item in enumerate(value):
        if not isinstance(item, dict):
            raise ConfigurationError(f"{where}[{i}]: is not an object")
        yield f"{where}[{i}]", item


def object_of(item: Json, name: str) -> Json:
    """An object within `item`; empty where it is missing or something else."""
    value = item.get(name)
    return value if isinstance(value, dict) else {}


def amount(item: Json, name: str, where: str) -> Decimal | None:
    """A number at least 0, None where it is not set. Raises ConfigurationError."""
    value = item.get(name)
    if value is None:
        return None
    try:
        out = Decimal(str(value))
    except InvalidOperation:
        out = Decimal("NaN")
    if isinstance(value, bool) or not out.is_finite() or out < 0:
        raise ConfigurationError(f"{where}: {name} is {value!r}, not a number of at least 0")
    return out


def text(item: Json, *names: str) -> str:
    """The first of the fields that is a text and not empty."""
    return next((v for n in names if isinstance(v := item.get(n), str) and v), "")


def is_set(value: Any) -> bool:
    """Does a field say anything? An empty list or object, null and False do not."""
    return value not in (None, [], {}, "", False)


def left_out(
    item: Json, where: str, reasons: dict[str, str], known: Iterable[str], notes: list[Note]
) -> None:
    """A note for each field of `item` that says something and is neither read (`known`) nor explained by `reasons`
    without one."""
    expected = set(known)
    for name, value in item.items():
        if name in expected or not is_set(value):
            continue
        why = reasons.get(name, "is not known to this importer")
        notes.append(Note("no equal", where, f"{name}: {why}"))
