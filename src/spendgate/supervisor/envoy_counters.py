"""What Envoy itself counted of the calls that it asked us about, shown beside our own metrics: a call that no worker
decided is in nobody else's books.

Names: https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/ext_proc_filter#statistics
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import httpx
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

FILTER = r"ext_(proc|authz)\..*"
ASK = {"format": "json", "filter": FILTER, "type": "Counters"}
TIMEOUT_S = 1.0


class Shown(NamedTuple):
    """One of Envoy's counters: its name there is `http.PREFIX.ext_proc.[PREFIX.]` and one of `ours`' keys."""

    name: str
    text: str


COUNTERS: dict[str, Shown] = {
    "failure_mode_allowed": Shown(
        "spendgate_envoy_failure_mode_allowed",
        "Calls that Envoy let pass since no worker answered in time, as Envoy counts them since `up` started.",
    ),
    "message_timeouts": Shown(
        "spendgate_envoy_message_timeouts",
        "Messages of Envoy that no worker answered within message_timeout.",
    ),
    "streams_failed": Shown(
        "spendgate_envoy_streams_failed", "Calls of Envoy to a worker that ended with an error of gRPC."
    ),
    "streams_started": Shown("spendgate_envoy_streams_started", "Calls of Envoy to workers."),
}
_NAME = re.compile(r"http\..+\.ext_(?:proc|authz)\.(?:.+\.)?(?P<last>[a-z_]+)")


def counted(stats: Mapping[str, Any]) -> dict[str, int]:
    """The counters in an answer of /stats?format=json, those of several filters and listeners summed up."""
    out = dict.fromkeys(COUNTERS, 0)
    for row in stats.get("stats", ()):
        found = _NAME.fullmatch(str(row.get("name", "")))
        if found is not None and found["last"] in out:
            out[found["last"]] += int(row.get("value", 0))
    return out


class EnvoyCounters(Collector):
    """Asked of Envoy's admin socket before each scrape. An Envoy that was started anew counts from 0: what the one
    before had counted is kept."""

    def __init__(self, admin_socket: str) -> None:
        self._socket = admin_socket
        self._before = dict.fromkeys(COUNTERS, 0)
        self._last = dict.fromkeys(COUNTERS, 0)

    async def refresh(self) -> None:
        """Ask. Where Envoy does not answer, the last numbers stay."""
        transport = httpx.AsyncHTTPTransport(uds=self._socket)
        try:
            async with httpx.AsyncClient(transport=transport, timeout=TIMEOUT_S) as client:
                answer = await client.get("http://envoy/stats", params=ASK)
                self.take(answer.json())
        except (httpx.HTTPError, ValueError):
            return  # an Envoy that is not there is told by /readyz

    def take(self, stats: Mapping[str, Any]) -> None:
        """An answer of Envoy's."""
        fresh = counted(stats)
        for key, value in fresh.items():
            if value < self._last[key]:
                self._before[key] += self._last[key]
            self._last[key] = value

    def collect(self) -> Iterable[Metric]:
        """As Prometheus scrapes it."""
        for key, shown in COUNTERS.items():
            yield GaugeMetricFamily(shown.name, shown.text, self._before[key] + self._last[key])
