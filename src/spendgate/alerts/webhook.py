"""Generic webhooks: the shape that Alertmanager sends (version 4), or CloudEvents 1.0 as structured JSON.

Sources: prometheus.io/docs/alerting/latest/configuration (webhook_config); CloudEvents spec 1.0.2 with its
JSON event format and HTTP binding (structured mode: content type application/cloudevents+json).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any, Literal, get_args

import httpx
import orjson

from spendgate.alerts.alert import Alert, Kind
from spendgate.alerts.message import NO_LINKS, Links, text_of
from spendgate.alerts.post import post
from spendgate.alerts.sender import Delivered, DeliveryRejected, Outcome, Retry
from spendgate.errors import ConfigurationError
from spendgate.money import nano_to_usd
from spendgate.months import month_text, utc

Shape = Literal["alertmanager", "cloudevents"]
CONFIG_RETRY_S = 30.0
_NAMES = {
    "threshold": "SpendgateBudgetThreshold",
    "exhausted": "SpendgateBudgetExhausted",
    "recovered": "SpendgateBudgetExhausted",
    "rebuilt": "SpendgateLedgerRebuilt",
    "drift": "SpendgateLedgerDrift",
    "digest": "SpendgateDigest",
    "anomaly": "SpendgateSpendAnomaly",
    "limit": "SpendgateLimitThreshold",
}
_SEVERITY = {
    "threshold": "warning",
    "exhausted": "critical",
    "drift": "warning",
    "anomaly": "warning",
    "limit": "warning",
}
_MANY: tuple[Kind, ...] = ("limit", "anomaly", "rebuilt", "drift")
"""A team may have several of these in a month, with the same percentage or none: the key tells them apart."""
_NEVER = "0001-01-01T00:00:00Z"


def alertmanager(alert: Alert, links: Links = NO_LINKS, again: bool = False) -> dict[str, Any]:
    """The body of an Alertmanager webhook with this one alert. A recovery resolves what `exhausted` fired:
    same labels, same fingerprint."""
    labels = {"alertname": _NAMES[alert.kind], "team": alert.team, "month": month_text(alert.month)}
    labels["severity"] = _SEVERITY.get("exhausted" if alert.kind == "recovered" else alert.kind, "info")
    if alert.percent:
        labels["threshold"] = str(alert.percent)
    if alert.kind in _MANY:
        labels["key"] = alert.key
    text = text_of(alert, links, again)
    annotations = {"summary": text.partition("\n")[0], "description": text}
    if links.runbook:
        annotations["runbook_url"] = links.runbook
    status = "resolved" if alert.kind == "recovered" else "firing"
    fingerprint = hashlib.sha256(orjson.dumps(labels, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]
    group = {"alertname": labels["alertname"], "team": alert.team}
    return {
        "version": "4",
        "groupKey": "{}:{" + ", ".join(f"{k}={orjson.dumps(v).decode()}" for k, v in group.items()) + "}",
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "spendgate",
        "groupLabels": group,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": links.dashboard,
        "alerts": [
            {
                "status": status,
                "labels": labels,
                "annotations": annotations,
                "startsAt": _time(alert.at_ms),
                "endsAt": _time(alert.at_ms) if status == "resolved" else _NEVER,
                "generatorURL": links.dashboard,
                "fingerprint": fingerprint,
            }
        ],
    }


def cloudevent(alert: Alert, links: Links = NO_LINKS, again: bool = False) -> dict[str, Any]:
    """A CloudEvent. Its id is the alert's, so that a receiver can drop what it saw before; USD are exact
    decimal strings."""
    return {
        "specversion": "1.0",
        "id": alert.id,
        "source": "/spendgate",
        "type": f"com.systemhardening.ai.llmbudget.{alert.kind}.v1",
        "subject": alert.team or "all",
        "time": _time(alert.at_ms),
        "datacontenttype": "application/json",
        "data": {
            "team": alert.team,
            "month": month_text(alert.month),
            "kind": alert.kind,
            "percent": alert.percent or None,
            "action": alert.action or None,
            "settled_usd": nano_to_usd(alert.settled_nanousd),
            "reserved_usd": nano_to_usd(alert.reserved_nanousd),
            "budget_usd": nano_to_usd(alert.limit_nanousd),
            "forecast_usd": None if alert.forecast_nanousd is None else nano_to_usd(alert.forecast_nanousd),
            "exhausted_at": None if alert.exhausted_at_ms is None else _time(alert.exhausted_at_ms),
            "apps": {name: nano_to_usd(n) for name, n in alert.top_apps},
            "models": {name: nano_to_usd(n) for name, n in alert.top_models},
            "detail": alert.detail or None,
            "text": text_of(alert, links, again),
        },
    }


class WebhookSender:
    """Posts every alert to one URL. 2xx is delivered; 400, 413, 415 and 422 refuse the alert; every other
    answer is tried again."""

    min_interval_s = 0.0

    def __init__(
        self,
        url: str,
        shape: Shape = "alertmanager",
        name: str = "webhook",
        links: Links = NO_LINKS,
        *,
        headers: Mapping[str, str] | None = None,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError(
                f"alert webhook: not a URL: {url!r}; write for example https://host/path"
            )
        if ":" in name or "@" in name:
            raise ConfigurationError(f"alert webhook: the name {name!r} may hold neither `:` nor `@`")
        self.name = name
        self._url = url
        self._links = links
        self._shape: Shape = shape
        kind = "application/cloudevents+json" if shape == "cloudevents" else "application/json"
        self._headers = {"content-type": kind, **(headers or {})}
        self._client = client or httpx.AsyncClient(follow_redirects=False)

    def targets(self, alert: Alert) -> tuple[str, ...]:
        """Its own name; an Alertmanager gets no digests, which nothing ever resolves."""
        return () if alert.kind == "digest" and self._shape == "alertmanager" else (self.name,)

    async def send(self, alert: Alert, target: str, again: bool) -> Outcome:
        """One attempt."""
        make = cloudevent if self._shape == "cloudevents" else alertmanager
        answer = await post(
            self._client, self._url, orjson.dumps(make(alert, self._links, again)), self._headers
        )
        if isinstance(answer, Retry):
            return answer
        if 200 <= answer.status_code < 300:
            return Delivered()
        reason = f"{answer.status_code}: {answer.text[:100]}"
        return (
            DeliveryRejected(reason)
            if answer.status_code in (400, 413, 415, 422)
            else Retry(reason, CONFIG_RETRY_S)
        )

    async def close(self) -> None:
        """Give connections back."""
        await self._client.aclose()


def webhook_from(environ: Mapping[str, str], links: Links = NO_LINKS) -> WebhookSender | None:
    """A webhook by SPENDGATE_ALERT_WEBHOOK_URL and SPENDGATE_ALERT_WEBHOOK_SHAPE (alertmanager, cloudevents);
    None where no URL is set. Raises ConfigurationError."""
    url = environ.get("SPENDGATE_ALERT_WEBHOOK_URL", "").strip()
    if not url:
        return None
    shape = environ.get("SPENDGATE_ALERT_WEBHOOK_SHAPE", "").strip() or "alertmanager"
    for known in get_args(Shape):
        if shape == known:
            return WebhookSender(url, known, links=links)
    raise ConfigurationError(
        f"SPENDGATE_ALERT_WEBHOOK_SHAPE: {shape!r} is not known; use alertmanager or cloudevents"
    )


def _time(ms: int) -> str:
    return utc(ms).isoformat(timespec="milliseconds").replace("+00:00", "Z")
