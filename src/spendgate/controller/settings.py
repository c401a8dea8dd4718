"""The controller's settings, all from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path

from spendgate.alerts.reports import NO_REPORTS, ReportPlan, reports_from
from spendgate.controller.ownership import MODES, granted
from spendgate.durations import parse_duration_ms
from spendgate.errors import ConfigurationError
from spendgate.values import dataclass

HTTP_DEFAULT = "0.0.0.0:8080"
METRICS_DEFAULT = "0.0.0.0:9090"


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """What a controller is told. `namespace` "": all namespaces."""

    redis_url: str
    namespace: str = ""
    reconcile_interval_ms: int = 30_000
    data_dir: Path | None = None
    """Where alerts not yet delivered survive a restart; None: in memory and Redis only."""
    http: tuple[str, int] = ("0.0.0.0", 8080)
    metrics: tuple[str, int] = ("0.0.0.0", 9090)
    pod_name: str = ""
    pod_namespace: str = ""
    prices: tuple[Path, ...] = ()
    prometheus: str = ""
    """Where the ledger is rebuilt from after a loss, and compared with; "": nowhere."""
    strict: bool = False
    """Do namespaces own teams?"""
    admin_namespaces: frozenset[str] = frozenset()
    """Namespaces that may hold any team, the controller's own included."""
    cluster: str = ""
    """Whose policy it is where several clusters share one ledger; "": told by the API server's authority."""
    status_quantum: Decimal = Decimal(0)
    """Percent of a budget by which its spend must move before the status tells it within `QUIET_PERIODS`."""
    reports: ReportPlan = NO_REPORTS
    """Digests and anomalies that are told by themselves."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> ControllerSettings:
        """Read REDIS_URL, WATCH_NAMESPACE, RECONCILE_INTERVAL, SPENDGATE_HTTP, SPENDGATE_METRICS,
        SPENDGATE_DATA_DIR, SPENDGATE_PRICES, SPENDGATE_PROMETHEUS, SPENDGATE_OWNERSHIP,
        SPENDGATE_ADMIN_NAMESPACES, SPENDGATE_STATUS_QUANTUM, SPENDGATE_CLUSTER, POD_NAME, POD_NAMESPACE, and those
        of reports.
        Raises ConfigurationError that names the variable."""
        url = environ.get("REDIS_URL", "").strip()
        if not url:
            raise ConfigurationError("REDIS_URL is not set; give the ledger's Redis, e.g. redis://redis:6379")
        ownership = environ.get("SPENDGATE_OWNERSHIP", "").strip() or "open"
        if ownership not in MODES:
            raise ConfigurationError(f"SPENDGATE_OWNERSHIP: {ownership!r} is neither of {', '.join(MODES)}")
        own = environ.get("POD_NAMESPACE", "").strip()
        admins = granted(environ.get("SPENDGATE_ADMIN_NAMESPACES", ""))
        return cls(
            redis_url=url,
            namespace=environ.get("WATCH_NAMESPACE", "").strip(),
            reconcile_interval_ms=_duration(environ, "RECONCILE_INTERVAL", "30s"),
            data_dir=Path(environ["SPENDGATE_DATA_DIR"]) if environ.get("SPENDGATE_DATA_DIR") else None,
            http=_address(environ, "SPENDGATE_HTTP", HTTP_DEFAULT),
            metrics=_address(environ, "SPENDGATE_METRICS", METRICS_DEFAULT),
            cluster=environ.get("SPENDGATE_CLUSTER", "").strip(),
            pod_name=environ.get("POD_NAME", "").strip(),
            pod_namespace=own,
            strict=ownership == "strict",
            admin_namespaces=frozenset({*admins, own} - {""}),
            status_quantum=_percent(environ, "SPENDGATE_STATUS_QUANTUM"),
            prometheus=environ.get("SPENDGATE_PROMETHEUS", "").strip(),
            reports=reports_from(environ),
            prices=tuple(Path(p) for p in environ.get("SPENDGATE_PRICES", "").split() if p),
        )


def _duration(environ: Mapping[str, str], name: str, default: str) -> int:
    try:
        return parse_duration_ms(environ.get(name) or default)
    except ValueError as e:
        raise ConfigurationError(f"{name}: {e}") from e


def _percent(environ: Mapping[str, str], name: str) -> Decimal:
    text = environ.get(name, "").strip().removesuffix("%").strip() or "0"
    try:
        percent = Decimal(text)
    except InvalidOperation as e:
        raise ConfigurationError(f"{name}: {text!r} is no number of percent; write for example 0.1") from e
    if not 0 <= percent <= 100:
        raise ConfigurationError(f"{name}: {text} is not between 0 and 100 percent")
    return percent


def _address(environ: Mapping[str, str], name: str, default: str) -> tuple[str, int]:
    return address(environ.get(name) or default, name, default)


def address(text: str, name: str, example: str) -> tuple[str, int]:
    """Read HOST:PORT. Raises ConfigurationError that names the variable or option."""
    host, _, port = text.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigurationError(f"{name}: {text!r} is no HOST:PORT; write for example {example}")
    return host.strip("[]") or "0.0.0.0", int(port)
