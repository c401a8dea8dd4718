"""Where commands find the ledger: `--redis`, REDIS_URL, or the data dir of a running `up`."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import field
from pathlib import Path
from typing import Any, TypeVar

import click

from spendgate.errors import ConfigurationError
from spendgate.values import dataclass

_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class LedgerLocation:
    """A ledger's URL and, from a running `up`, its policy paths and its budgets (nano-USD by team)."""

    redis_url: str
    policy_paths: tuple[str, ...] = ()
    budgets: dict[str, int] = field(default_factory=dict)


def ledger_options(command: _F) -> _F:
    """The options `--redis` and `--data-dir`."""
    command = click.option(
        "--data-dir",
        default=".spendgate",
        show_default=True,
        envvar="SPENDGATE_DATA_DIR",
        type=click.Path(path_type=Path),
        help="Data dir of a running `spendgate up`.",
    )(command)
    return click.option(
        "--redis",
        "redis_url",
        envvar=["REDIS_URL", "SPENDGATE_REDIS"],
        help="The ledger's Redis, by any URL of docs/how-to/redis.md.  [env: REDIS_URL]",
    )(command)


def find_ledger(redis_url: str | None, data_dir: Path) -> LedgerLocation:
    """Find the ledger. Raises ConfigurationError that says what to do where there is none."""
    path = data_dir / "up.json"
    try:
        up = json.loads(path.read_text())
        found = LedgerLocation(
            up["redis"],
            tuple(up.get("policy", ())),
            {team: int(t["budget_nanousd"]) for team, t in up.get("teams", {}).items()},
        )
    except FileNotFoundError:
        if redis_url:
            return LedgerLocation(redis_url)
        raise ConfigurationError(
            f"no ledger found: give --redis URL, set REDIS_URL, or name the --data-dir of a running "
            f"`spendgate up` ({path} does not exist)"
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as e:
        if redis_url:
            return LedgerLocation(redis_url)
        raise ConfigurationError(
            f"{path}: not what `spendgate up` writes ({type(e).__name__}: {e}); start `spendgate up` again"
        ) from e
    return found if redis_url in (None, "", found.redis_url) else LedgerLocation(str(redis_url))
