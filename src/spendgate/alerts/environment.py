"""Senders from the environment: what `up` and the controller have in common."""

from __future__ import annotations

from collections.abc import Mapping

from spendgate.alerts.apprise_sender import apprise_from
from spendgate.alerts.message import Links
from spendgate.alerts.sender import Sender
from spendgate.alerts.slack import slack_from
from spendgate.alerts.webhook import webhook_from


def senders_from(environ: Mapping[str, str]) -> list[Sender]:
    """Slack, a generic webhook and the receivers of apprise, each where its variables are set; an empty list: nobody
    is told.

    Links stand in SPENDGATE_DASHBOARD_URL and SPENDGATE_RUNBOOK_URL (`{team}` becomes the team's name). Raises
    ConfigurationError that names the variable.
    """
    links = Links(
        environ.get("SPENDGATE_DASHBOARD_URL", "").strip(), environ.get("SPENDGATE_RUNBOOK_URL", "").strip()
    )
    others = apprise_from(environ, links)
    names = others.names if others is not None else frozenset()
    found = (slack_from(environ, links, names), webhook_from(environ, links), others)
    return [sender for sender in found if sender is not None]
