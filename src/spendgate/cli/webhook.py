"""`spendgate webhook`: budgets checked by the API server before they are stored."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--listen", default="0.0.0.0:8443", show_default=True, metavar="HOST:PORT", envvar="SPENDGATE_WEBHOOK",
    help="HTTPS: POST /validate, GET /healthz.",
)  # fmt: skip
@click.option(
    "--cert", type=click.Path(path_type=Path), required=True, envvar="SPENDGATE_WEBHOOK_CERT",
    help="Certificate chain, PEM; a renewed file is taken without a restart.",
)  # fmt: skip
@click.option(
    "--key", type=click.Path(path_type=Path), required=True, envvar="SPENDGATE_WEBHOOK_KEY",
    help="Its private key, PEM.",
)  # fmt: skip
@click.option(
    "--alone", is_flag=True, envvar="SPENDGATE_WEBHOOK_ALONE",
    help="Do not look into the cluster for other budgets of a team.",
)  # fmt: skip
def command(listen: str, cert: Path, key: Path, alone: bool) -> None:
    """Refuse LLMBudgets that `spendgate validate` refuses, in the same words, when they are applied.

    A validating webhook for a cluster's API server; k8s/components/webhook has its manifests. It warns of a
    second budget for a team (it lists and watches budgets, as a pod or by KUBECONFIG).

    \b
    Example:
      spendgate webhook --listen 0.0.0.0:8443 --cert /tls/tls.crt --key /tls/tls.key
    """
    import asyncio
    import os
    import signal

    from spendgate.controller.kube.access import find_access
    from spendgate.controller.settings import address
    from spendgate.controller.webhook_server import Certificate, serve
    from spendgate.settings import logs

    where = address(listen, "--listen", "0.0.0.0:8443")
    certificate = Certificate(cert, key)
    access = None if alone else find_access(os.environ)
    logs.configure(os.environ.get("SPENDGATE_LOG_LEVEL", "info"), process="webhook")

    async def run() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for sig in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(sig, stop.set)
        await serve(where, certificate, access, stop)

    asyncio.run(run())
