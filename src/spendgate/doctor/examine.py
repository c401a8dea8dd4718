"""The whole examination: gathers, asks every check, and leaves out what it was given nothing for."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import yaml
from prometheus_client.parser import text_string_to_metric_families

from spendgate.budget.load import load_policy
from spendgate.budget.policy import Policy
from spendgate.doctor.envoy import check_envoy
from spendgate.doctor.envoy_dump import of_bootstrap, of_config_dump
from spendgate.doctor.envoy_running import check_hosts, check_stats, check_version
from spendgate.doctor.finding import Finding, error, in_order, info, warning
from spendgate.doctor.ownership_checks import check_ownership
from spendgate.doctor.policy_checks import Spent, check_in_force, check_policy, check_settings
from spendgate.doctor.probe import Target, probe
from spendgate.doctor.redis_checks import check_lacks, check_redis
from spendgate.errors import ConfigurationError, LedgerError
from spendgate.identity.api_keys import KeyRing
from spendgate.identity.key_file import read as read_keys
from spendgate.ledger.redis import shared_secret
from spendgate.ledger.redis import url as connect
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.ledger.redis.server_check import check_server
from spendgate.ledger.redis.server_facts import facts_of
from spendgate.months import month_key
from spendgate.policy.store import PolicyStore, policy_of
from spendgate.pricing.load import table
from spendgate.protos.policy_pb2 import PolicySnapshot
from spendgate.settings.config import Settings, load_config
from spendgate.supervisor.envoy_counters import ASK
from spendgate.values import dataclass

COUNTED = {
    "spendgate_internal_errors_total": (
        "internal-errors",
        "faults of spendgate's own",
        "see its log, and report them",
    ),
    "spendgate_fail_open_total": (
        "failed-open",
        "requests passed while Redis was away",
        "see the Redis findings",
    ),
    "spendgate_policy_reload_errors_total": (
        "reload-refused",
        "reloads were refused",
        "spendgate validate the files",
    ),
    "spendgate_envoy_failure_mode_allowed": (
        "passed-undecided",
        "calls passed Envoy without a decision",
        "docs/runbooks/SpendgateEnvoyFailOpen.md; what must never pass undecided: failure_mode: closed",
    ),
    "spendgate_usage_log_errors_total": ("usage-log-lost", "usage lines were lost", "is the disk full?"),
}


@dataclass(frozen=True, slots=True)
class Installation:
    """What to look at; what is empty is not looked at."""

    target: Target | None = None
    envoy_admin: str = ""
    envoy_config: Path | None = None
    admin: str = ""
    redis: str = ""
    policy: tuple[Path, ...] = ()
    prices: tuple[Path, ...] = ()
    config: Path | None = None
    environ: Mapping[str, str] = field(default_factory=dict)


async def examine(patient: Installation) -> list[Finding]:
    """Look at everything. Never raises for what is wrong with the patient."""
    now_ms = time.time_ns() // 1_000_000
    out: list[Finding] = []
    settings = _settings(patient, out)
    out += _files(patient, settings, now_ms)
    answers = False
    if patient.redis:
        facts = await facts_of(patient.redis)
        out += check_redis(facts, settings)
        if not facts.unreachable:
            out += check_lacks(patient.redis, await check_server(patient.redis))
        answers = not facts.unreachable
    snapshot = await _controllers(patient) if answers else None
    if snapshot is not None:
        out += check_ownership(snapshot)
    policy = _given(patient, out) if patient.policy else policy_of(snapshot) if snapshot else None
    spent = await _spent(patient, now_ms) if answers else Spent()
    if policy is not None:
        try:
            out += check_policy(policy, settings, table(patient.prices), spent, now_ms)
        except ConfigurationError as e:
            out.append(error("prices-invalid", "prices", str(e), "spendgate validate PRICES"))
    out += _envoy(patient, settings)
    if patient.admin:
        out += _admin(patient, policy, now_ms)
    if patient.target is not None:
        secret = await _secret(patient) if answers else b""
        out += probe(replace(patient.target, secret=secret))
    else:
        out.append(info("not-probed", "gateway", "no request was sent", "give --url of the gateway"))
    return in_order(out)


def _settings(patient: Installation, out: list[Finding]) -> Settings:
    try:
        return load_config(patient.config, patient.environ)
    except ConfigurationError as e:
        out.append(
            error("settings-invalid", str(patient.config or "environment"), str(e), "spendgate validate FILE")
        )
        return Settings()


def _files(patient: Installation, settings: Settings, now_ms: int) -> Iterator[Finding]:
    rings: dict[str, KeyRing] = {}
    for path in settings.key_files():
        try:
            rings[str(path)] = read_keys(path)
        except ConfigurationError as e:
            yield error("keys-unreadable", str(path), str(e), "spendgate keys issue --file PATH --team …")
    yield from check_settings(settings, rings, patient.environ, now_ms)


def _given(patient: Installation, out: list[Finding]) -> Policy | None:
    """The policy of the files that were given."""
    try:
        return load_policy(patient.policy)
    except ConfigurationError as e:
        where = " ".join(map(str, patient.policy))
        out.append(
            error("policy-invalid", where, str(e), "spendgate validate names every fault with its line")
        )
        return None


async def _controllers(patient: Installation) -> PolicySnapshot | None:
    """What the controller wrote to Redis, if there is one."""
    client = connect.client(patient.redis, 3.0)
    try:
        return await PolicyStore(client).read()
    except LedgerError:
        return None  # check_redis says why
    finally:
        await client.aclose()


async def _secret(patient: Installation) -> bytes:
    """What the gateways of this ledger share, b"" where none has started yet."""
    client = connect.client(patient.redis, 3.0)
    try:
        return await shared_secret.read(client)
    except LedgerError:
        return b""  # check_redis says why
    finally:
        await client.aclose()


async def _spent(patient: Installation, now_ms: int) -> Spent:
    """This month's teams and models; nothing where the ledger does not say."""
    ledger = RedisLedger.from_url(patient.redis, 3.0)
    try:
        teams = await ledger.teams()
        months = await ledger.months(teams, month_key(now_ms))
        return Spent({m.team: frozenset(m.models) for m in months if m.requests})
    except LedgerError:
        return Spent()  # check_redis says why
    finally:
        await ledger.close()


def _get(base: str, path: str) -> httpx.Response:
    if base.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=base.removeprefix("unix:").removeprefix("//"))
        with httpx.Client(transport=transport, timeout=10) as client:
            return client.get(f"http://admin{path}")
    url = base if "://" in base else f"http://{base}"
    return httpx.get(url.rstrip("/") + path, timeout=10, trust_env=False)


def _envoy(patient: Installation, settings: Settings) -> Iterator[Finding]:
    if patient.envoy_config is not None:
        try:
            loaded: Any = yaml.safe_load(patient.envoy_config.read_text())
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
            yield error(
                "envoy-unreadable", str(patient.envoy_config), str(e), "give a bootstrap as YAML or JSON"
            )
        else:
            yield from check_envoy(of_bootstrap(loaded if isinstance(loaded, dict) else {}), settings)
    if not patient.envoy_admin:
        return
    try:
        dump = of_config_dump(_get(patient.envoy_admin, "/config_dump").json())
        server = _get(patient.envoy_admin, "/server_info").json()
        clusters = _get(patient.envoy_admin, "/clusters?format=json").json()
        stats = _get(patient.envoy_admin, f"/stats?{urlencode(ASK)}").json()
    except (httpx.HTTPError, ValueError) as e:
        yield error("envoy-unreachable", patient.envoy_admin, f"its admin does not answer: {e}",
                    "give --envoy-admin HOST:PORT or unix:PATH of Envoy's admin (Istio: 127.0.0.1:15000)")  # fmt: skip
        return
    yield from check_version(server)
    yield from check_envoy(dump, settings)
    yield from check_hosts(clusters, dump)
    yield from check_stats(stats)


def _admin(patient: Installation, policy: Policy | None, now_ms: int) -> Iterator[Finding]:
    try:
        ready = _get(patient.admin, "/readyz")
        rows = _get(patient.admin, "/v1/budgets").json()
        text = _get(patient.admin, "/metrics").text
    except (httpx.HTTPError, ValueError) as e:
        yield error("admin-unreachable", patient.admin, f"the gateway's admin does not answer: {e}",
                    "give --admin HOST:PORT of `spendgate serve` or `up`")  # fmt: skip
        return
    if ready.status_code != 200:
        yield error("not-ready", patient.admin, ready.text.strip(), "start again what is named, see its log")
    if policy is not None:
        yield from check_in_force(policy, rows, now_ms)
    yield from check_metrics(patient.admin, text)


def check_metrics(where: str, text: str) -> Iterator[Finding]:
    """What the gateway counted since it started."""
    sums: dict[str, float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            sums[sample.name] = sums.get(sample.name, 0.0) + sample.value
    for name, (code, what, fix) in COUNTED.items():
        if sums.get(name):
            yield warning(code, where, f"{sums[name]:.0f} {what} since the start", fix)
    if sums.get("spendgate_spool_depth"):
        yield warning("spool-waiting", where, f"{sums['spendgate_spool_depth']:.0f} settlements wait on disk for Redis",
                      "see the Redis findings; they are kept")  # fmt: skip
