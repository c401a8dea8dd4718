"""`spendgate validate`: policies, prices and settings checked before they are used."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click
import yaml

from spendgate.errors import ConfigurationError, Fault

if TYPE_CHECKING:
    from spendgate.budget.policy import TeamBudget


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="PATH…")
def command(paths: tuple[Path, ...]) -> None:
    """Check files before they are used: budgets, prices, settings.

    What a file is, its content tells: LLMBudget documents, a `models:` table of prices, the `keys:` of API keys, or
    settings. Folders hold budgets. Every fault is one line, file:line: field: problem; what to do. Exit 1 where
    there is any.

    \b
    Example: spendgate validate budgets/ prices.yaml spendgate.yaml
    """
    faults: list[Fault] = []
    texts: list[str] = []
    budgets: list[Path] = []
    for path in paths:
        kind = _kind(path)
        if kind == "budgets":
            budgets.append(path)
            continue
        try:
            texts.append(_READERS[kind](path))
        except ConfigurationError as e:
            faults += e.faults or [Fault(str(path), 0, "", str(e))]
    if budgets:
        try:
            texts.append(_budgets(budgets))
        except ConfigurationError as e:
            faults += e.faults
    for fault in faults:
        print(fault, file=sys.stderr)
    for text in texts:
        print(text)
    if faults:
        sys.exit(1)


def _kind(path: Path) -> str:
    """What a file is. What cannot be read is taken for budgets, whose loader says what is wrong."""
    if path.is_dir():
        return "budgets"
    try:
        first = next(iter(yaml.safe_load_all(path.read_text(encoding="utf-8"))), None)
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return "budgets"
    if not isinstance(first, dict) or "kind" in first or "apiVersion" in first or "spec" in first:
        return "budgets"
    if "keys" in first:
        return "keys"
    # settings have `deployments` too; a file of nothing else is one of prices
    return "prices" if {"models", "discounts"} & first.keys() or set(first) == {"deployments"} else "settings"


def _budgets(paths: list[Path]) -> str:
    from spendgate.budget.load import load_policy

    policy = load_policy(paths)
    budgets = policy.every
    names = ", ".join(b.team for b in budgets[:8]) + (", …" if len(budgets) > 8 else "")
    plural = "" if len(budgets) == 1 else "s"
    lines = [f"{' '.join(map(str, paths))}: {len(budgets)} budget{plural} ({names}), valid"]
    lines += [f"  note: {_kind_of(b)} {b.team}: {note}" for b in budgets for note in b.advice]
    return "\n".join(lines)


def _kind_of(budget: TeamBudget) -> str:
    return "group" if budget.is_group else "template" if budget.is_template else "team"


def _prices(path: Path) -> str:
    from spendgate.pricing.load import load_overrides

    read = load_overrides(path)
    more = [
        f"{len(x)} {name}" for x, name in ((read.aliases, "other names"), (read.discounts, "discounts")) if x
    ]
    return f"{path}: {', '.join([f'prices of {len(read.prices)} models', *more])}, valid"


def _settings(path: Path) -> str:
    from spendgate.settings.config import load_config

    settings = load_config(path, os.environ)
    return f"{path}: {len(settings.model_fields_set)} settings, valid"


def _keys(path: Path) -> str:
    from spendgate.identity.key_file import read

    ring = read(path)
    return f"{path}: {len(ring.keys) + len(ring.plain)} API keys, valid"


_READERS = {"prices": _prices, "settings": _settings, "keys": _keys}
