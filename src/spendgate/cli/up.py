"""`spendgate up`: a whole local gateway."""

from __future__ import annotations

from typing import Any

import click

from spendgate.cli.options import WORKERS_MAX, GatewayOptions, default_workers, gateway_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--upstream",
    envvar="SPENDGATE_UPSTREAM",
    metavar="URL",
    help="The provider, e.g. https://api.openai.com.",
)
@click.option(
    "--listen", default="127.0.0.1:10000", show_default=True, metavar="HOST:PORT", envvar="SPENDGATE_LISTEN",
    help="Where clients connect.",
)  # fmt: skip
@gateway_options
@click.option(
    "--workers",
    type=click.IntRange(1, WORKERS_MAX),
    default=default_workers,
    show_default="cores - 1, at least 2",
    envvar="SPENDGATE_WORKERS",
    help="Gateway processes.",
)
@click.option(
    "--lean",
    is_flag=True,
    envvar="SPENDGATE_LEAN",
    help="Answers whose cost Envoy can tell by itself pass unseen.",
)
@click.option("--quiet", "-q", is_flag=True, help="Do not print decisions.")
@click.option(
    "-o",
    "output",
    type=click.Choice(["text", "json"]),
    default="text",
    show_default=True,
    help="How decisions are printed.",
)
def command(upstream: str | None, listen: str, lean: bool, quiet: bool, output: str, **shared: Any) -> None:
    """Run a whole local gateway: real Envoy, the gateway, an embedded Redis.

    Point your SDK's base URL at --listen; name team and app by the headers x-llm-team and x-llm-app. Without
    --policy everything is metered and nothing is bounded. SPENDGATE_ENVOY names another Envoy than the one installed.

    \b
    Alerts, by the environment:
      SLACK_WEBHOOK_URL    each threshold crossed is posted once; or
      SLACK_BOT_TOKEN      with the budget's notifyChannel, else SLACK_CHANNEL
      SPENDGATE_ALERT_WEBHOOK_URL, SPENDGATE_ALERT_WEBHOOK_SHAPE   alertmanager (default) or cloudevents
      SPENDGATE_DASHBOARD_URL, SPENDGATE_RUNBOOK_URL   links in the message; {team} is filled in

    \b
    Example:
      spendgate up --policy budgets.yaml --upstream https://api.openai.com
      OPENAI_BASE_URL=http://127.0.0.1:10000/v1 python my_app.py
    """
    from spendgate.cli.options import metrics_dir

    metrics_dir()
    from spendgate.cli.run import run_up

    run_up(upstream, listen, None if quiet else output, GatewayOptions(**shared), lean=lean)
