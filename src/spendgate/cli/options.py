"""Options that several commands share, and the checks of what they were given."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spendgate.values import dataclass

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class GatewayOptions:
    """What `up` and `serve` share, as given."""

    workers: int
    policy: tuple[Path, ...]
    admin: str
    redis_url: str
    data_dir: Path
    prices: tuple[Path, ...]
    config: Path | None


def gateway_options(command: F) -> F:
    """Options of `up` and `serve`."""
    path = click.Path(path_type=Path)
    for option in (
        click.option("--policy", "policy", multiple=True, type=path, help="LLMBudget file or folder; repeatable."),
        click.option(
            "--admin", default="127.0.0.1:9090", show_default=True, metavar="HOST:PORT",
            envvar="SPENDGATE_ADMIN", help="Metrics, health, budgets.",
        ),
        click.option(
            "--redis", "redis_url", envvar=["SPENDGATE_REDIS", "REDIS_URL"], default="", metavar="URL",
            help="The ledger's Redis; without it an embedded one.  [env: REDIS_URL]",
        ),
        click.option(
            "--data-dir", default=".spendgate", show_default=True, type=path, envvar="SPENDGATE_DATA_DIR",
            help="Ledger, usage log, logs.",
        ),
        click.option(
            "--prices", type=path, multiple=True, envvar="SPENDGATE_PRICES",
            help="Prices on top of the built-in ones.",
        ),
        click.option("--config", type=path, envvar="SPENDGATE_CONFIG", help="Settings file."),
    ):  # fmt: skip
        command = option(command)
    return command


WORKERS_MAX = 64


def default_workers() -> int:
    """A core is Envoy's; one worker alone would leave nobody who decides while it is started again."""
    return min(WORKERS_MAX, max(2, len(os.sched_getaffinity(0)) - 1))


def metrics_dir() -> None:
    """Choose where worker processes share their counters; must come before prometheus_client is imported."""
    if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp(prefix="spendgate-metrics-")
