"""What people read: one alert as text, for Slack and every other receiver. Pure.

The first percentage in the text is the threshold's, amounts have two decimals and no thousands separators, so
that a search finds them. Names of apps and models come from clients: they are cut and cannot mention, link
or format.
"""

from __future__ import annotations

import shlex
from datetime import timedelta

from spendgate.alerts.alert import Alert
from spendgate.money import NANO_PER_USD, usd_text
from spendgate.months import month_text, next_month_start, utc
from spendgate.values import dataclass

NAME_MAX = 60
"""Characters shown of a name."""
TEXT_MAX = 3_900
"""Slack recommends at most 4,000 characters and cuts at 40,000 (docs: chat.postMessage, `text`)."""
AGAIN = "(Sent again: it is not known whether the first sending arrived.)"


@dataclass(frozen=True, slots=True)
class Links:
    """Where a reader goes next; "" is left out. `{team}` in a link stands for the team's name."""

    dashboard: str = ""
    runbook: str = ""


NO_LINKS = Links()


def usd(nano: int) -> str:
    """`$8000.00`: two decimals, and digits only, which people's rules in Slack match."""
    return usd_text(nano, 2, grouped=False)


def text_of(alert: Alert, links: Links = NO_LINKS, again: bool = False) -> str:
    """The whole message, plain text of a few lines. `again`: it may have been sent before."""
    lines = [_headline(alert)]
    if alert.kind in ("threshold", "exhausted", "recovered"):
        lines += [_outlook(alert), _top(alert), _next(alert), _raise(alert)]
    lines.append(_links(alert, links))
    if again:
        lines.append(AGAIN)
    text = "\n".join(line for line in lines if line)
    return text if len(text) <= TEXT_MAX else text[: TEXT_MAX - 1] + "…"


def slack_text(alert: Alert, links: Links = NO_LINKS, again: bool = False) -> str:
    """As `text_of`, with Slack's three control characters escaped (docs: "Escaping text")."""
    text = text_of(alert, links, again)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _headline(alert: Alert) -> str:
    team = shown(alert.team)
    of = f"{usd(alert.settled_nanousd)} spent of {usd(alert.limit_nanousd)}"
    month = month_text(alert.month)
    match alert.kind:
        case "threshold" | "exhausted":
            head = f"LLM budget of team {team}{_edit(alert)}: {alert.percent} % reached in {month}, {of}."
            is_final = alert.kind == "exhausted" and not alert.audit
            return head + " The budget is exhausted." if is_final else head
        case "recovered":
            return f"LLM budget of team {team} was raised and is no longer exhausted in {month}: {of}."
        case "digest" | "anomaly" | "limit":
            return alert.detail
        case "rebuilt":
            return f"{_ledger(alert)} was rebuilt for {month}: {alert.detail}"
        case "drift":
            return f"{_ledger(alert)} drifts in {month}: {alert.detail}"


def _edit(alert: Alert) -> str:
    was = alert.was_limit_nanousd
    if was is None or was == alert.limit_nanousd:
        return ""
    return f" was changed from {usd(was)} to {usd(alert.limit_nanousd)}"


def _ledger(alert: Alert) -> str:
    return f"Ledger of team {shown(alert.team)}" if alert.team else "The ledger of all teams"


def _outlook(alert: Alert) -> str:
    parts = []
    if alert.exhausted_at_ms is not None and alert.exhausted_at_ms > alert.at_ms:
        parts.append(f"At this pace it is exhausted on {utc(alert.exhausted_at_ms):%Y-%m-%d}.")
    if alert.forecast_nanousd is not None:
        parts.append(f"Forecast for the month: {usd(alert.forecast_nanousd)}.")
    if alert.last_month_nanousd:
        parts.append(f"Last month to this day: {usd(alert.last_month_nanousd)}.")
    if alert.refused:
        parts.append(f"Refused this month: {alert.refused} requests.")
    if alert.reserved_nanousd:
        parts.append(f"Held by requests in flight: {usd(alert.reserved_nanousd)}.")
    return " ".join(parts)


def _top(alert: Alert) -> str:
    parts = []
    for title, rows in (("Top apps", alert.top_apps), ("Top models", alert.top_models)):
        if rows:
            parts.append(
                f"{title}: " + ", ".join(f"{shown(n) or '(unnamed)'} {usd(x)}" for n, x in rows) + "."
            )
    return " ".join(parts)


def _next(alert: Alert) -> str:
    if alert.kind == "recovered":
        return "From now on: requests are admitted again."
    if alert.audit:
        return "From now on: nothing changes, the budget is in audit mode."
    match alert.action:
        case "reject":
            start = next_month_start(alert.at_ms)
            return (
                f"From now on: requests are refused (429) until {start:%Y-%m-%d} 00:00 UTC "
                "or until the budget is raised."
            )
        case "alert_and_downgrade":
            to = f" ({shown(alert.cheaper_model)})" if alert.cheaper_model else ""
            return f"From now on: requests go to cheaper models{to} where there is one."
        case _:
            return "From now on: nothing changes, this is for your information."


def _raise(alert: Alert) -> str:
    if alert.kind != "exhausted" or alert.audit:
        return ""
    command = raise_command(
        alert.team, alert.forecast_nanousd or 0, alert.settled_nanousd, alert.limit_nanousd, alert.at_ms
    )
    return f"To ask for more: {command}"


def raise_command(
    team: str, forecast_nanousd: int, settled_nanousd: int, limit_nanousd: int, at_ms: int
) -> str:
    """The command that asks for more until the month's end, with an amount that would last by the forecast."""
    wanted = max(forecast_nanousd, settled_nanousd) - limit_nanousd
    wanted = max(wanted, limit_nanousd // 10, NANO_PER_USD)
    last = next_month_start(at_ms) - timedelta(days=1)
    return (
        f"spendgate propose raise --team {shlex.quote(shown(team))} --usd {-(-wanted // NANO_PER_USD)} "
        f"--until {last:%Y-%m-%d} --reason '…'"
    )


def _links(alert: Alert, links: Links) -> str:
    named = (("Dashboard", links.dashboard), ("Runbook", links.runbook))
    return " · ".join(f"{title}: {url.replace('{team}', alert.team)}" for title, url in named if url)


def shown(name: str) -> str:
    """A name as people may see it: cut, printable, and no link."""
    clean = "".join(c if c.isprintable() else "?" for c in name).replace("://", ": //")
    return clean if len(clean) <= NAME_MAX else clean[: NAME_MAX - 1] + "…"
