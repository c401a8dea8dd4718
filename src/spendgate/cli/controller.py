"""`spendgate controller`: budgets as Kubernetes resources."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--policy",
    multiple=True,
    type=click.Path(path_type=Path),
    help="Local mode: LLMBudgets from this file or folder, no Kubernetes; repeatable.",
)
def command(policy: tuple[Path, ...]) -> None:
    """Follow the cluster's LLMBudgets: policy to the gateways, spend into their status.

    Runs in a pod by its service account, elsewhere by KUBECONFIG. Any number may run, one leads. With --policy
    it needs no cluster: budgets come from files, gateways (`serve` without --policy) get them from Redis.

    \b
    Environment:
      REDIS_URL            the ledger's Redis (needed)
      WATCH_NAMESPACE      one namespace; empty: all
      SPENDGATE_OWNERSHIP  strict: a namespace holds its own team and those that it is granted; open (default): any
      SPENDGATE_ADMIN_NAMESPACES   namespaces that hold any team, beside the controller's own
      SPENDGATE_CLUSTER     a name, where several clusters share one ledger
      RECONCILE_INTERVAL   how often a budget's numbers are written at most; conditions at once (30s)
      SPENDGATE_STATUS_QUANTUM   percent of a budget below which its numbers wait twenty intervals (0: none)
      SLACK_WEBHOOK_URL    where crossings are told (or SLACK_BOT_TOKEN; SPENDGATE_ALERT_WEBHOOK_URL)
      SPENDGATE_NOTIFY_URLS, SPENDGATE_MAIL_URL   mail, Teams, PagerDuty, …: URLs of apprise
      SPENDGATE_DIGESTS    weekly, monthly or both, to each budget's channels; SPENDGATE_DIGEST_FINANCE: channels of
                           the one of all teams
      SPENDGATE_ANOMALIES  on: a day unlike its weekday is told
      SPENDGATE_HTTP       /healthz and /readyz (0.0.0.0:8080)
      SPENDGATE_METRICS    /metrics (0.0.0.0:9090)
      SPENDGATE_PRICES     price files on top of the built-in ones
      SPENDGATE_PROMETHEUS   http://prometheus:9090: rebuilds the ledger after a loss, compared every 15 minutes
      SPENDGATE_DATA_DIR   where alerts not yet delivered survive a restart
      POD_NAME, POD_NAMESPACE   who and where this replica is, for the Lease

    \b
    Example:
      KUBECONFIG=~/.kube/config REDIS_URL=redis://127.0.0.1:6379 spendgate controller
      REDIS_URL=redis://127.0.0.1:6379 spendgate controller --policy budgets/
    """
    import asyncio
    import os
    import signal

    from spendgate.alerts.environment import senders_from
    from spendgate.console.pages import UsageLogs, console
    from spendgate.console.settings import ConsoleSettings
    from spendgate.controller.controller import Controller
    from spendgate.controller.heap import give_back_large_pieces
    from spendgate.controller.kube.access import find_access
    from spendgate.controller.local import LocalController
    from spendgate.controller.settings import ControllerSettings
    from spendgate.exchange.snapshot import snapshot
    from spendgate.settings import logs
    from spendgate.settings.config import Settings

    give_back_large_pieces()
    settings = ControllerSettings.from_environment(os.environ)
    logs.configure(os.environ.get("SPENDGATE_LOG_LEVEL", "info"), process="controller")

    console_settings = ConsoleSettings.from_environment(os.environ)

    def pages(ledger: Any, policy: Any, prices: Any) -> Any:
        """A gateway's own settings are not known here: a request is explained by the defaults."""
        usage = UsageLogs.of(console_settings, "", settings.data_dir)
        return console(ledger, lambda: snapshot(policy(), prices, Settings()), console_settings, usage=usage)

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, stop.set)
        senders = senders_from(os.environ)
        if policy:
            await LocalController(settings, policy, senders).run(stop)
        else:
            await Controller(settings, find_access(os.environ), senders, pages).run(stop)

    asyncio.run(run())
