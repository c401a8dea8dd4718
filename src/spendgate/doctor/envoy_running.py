"""What a running Envoy says of itself: its version, the workers that it reaches, what it counted."""

from __future__ import annotations

from collections.abc import Iterator

from spendgate.doctor.envoy_dump import Dump, Json
from spendgate.doctor.envoy_filters import cluster_of, ours_of
from spendgate.doctor.finding import Finding, error, info, warning
from spendgate.supervisor.envoy_counters import counted


def check_version(server_info: Json) -> Iterator[Finding]:
    """What is known of this version of Envoy."""
    text = str(server_info.get("version", ""))
    parts = text.split("/")
    numbers = parts[1].split("-")[0] if len(parts) > 1 else text
    try:
        version = tuple(int(x) for x in numbers.split(".")[:3])
    except ValueError:
        yield info(
            "envoy-version", "envoy", f"its version cannot be read: {text!r}", "use Envoy 1.36 or newer"
        )
        return
    fixed = {(1, 30): 10, (1, 31): 6, (1, 32): 4, (1, 33): 1}
    patch = fixed.get((version[0], version[1])) if len(version) > 2 else None
    if version[:2] < (1, 30) or (patch is not None and version[2] < patch):
        yield error("envoy-version", "envoy", f"{numbers} can crash on its own replies with ext_proc (CVE-2025-30157)",
                    "upgrade to Envoy 1.36 or newer")  # fmt: skip
    elif version[:2] < (1, 36):
        yield warning("envoy-version", "envoy", f"{numbers} is older than what spendgate is tested with",
                      "upgrade to Envoy 1.36 or newer")  # fmt: skip


def check_hosts(clusters: Json, dump: Dump) -> Iterator[Finding]:
    """Workers that Envoy does not reach, from /clusters?format=json."""
    filters = (ours_of(list(manager.get("http_filters", []))) for _, _, manager in dump.managers())
    ours = {cluster_of(f["typed_config"]) for f in filters if f is not None}
    for status in clusters.get("cluster_statuses", []):
        if status.get("name") not in ours:
            continue
        hosts = status.get("host_statuses", [])
        healthy = [x for x in hosts if _healthy(x.get("health_status", {}))]
        if len(healthy) < len(hosts) or not hosts:
            yield error(
                "workers-away", f"cluster {status['name']}", f"{len(healthy)} of {len(hosts)} workers are healthy",
                "start `spendgate serve`, and see that its address and port are those of the cluster",
            )  # fmt: skip


def check_stats(stats: Json) -> Iterator[Finding]:
    """What Envoy itself counted since it started, from /stats?format=json."""
    seen = counted(stats)
    if n := seen["failure_mode_allowed"]:
        yield warning("passed-undecided", "envoy", f"{n} calls passed without a decision since it started",
                      "docs/runbooks/SpendgateEnvoyFailOpen.md; failure_mode: closed lets nothing pass")  # fmt: skip
    if n := seen["message_timeouts"]:
        yield warning("timed-out", "envoy", f"{n} times it gave up waiting for an answer since it started",
                      "docs/runbooks/SpendgateEnvoyTimeouts.md: more workers or CPU, Redis nearer")  # fmt: skip


def _healthy(status: Json) -> bool:
    return not any(value for key, value in status.items() if key.startswith("failed_"))
