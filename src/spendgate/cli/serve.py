"""`spendgate serve`: the production gateway."""

from __future__ import annotations

from typing import Any

import click

from spendgate.cli.options import GatewayOptions, gateway_options


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--grpc",
    "grpc",
    default="127.0.0.1:9002",
    show_default=True,
    metavar="HOST:PORT|unix:PATH",
    envvar="SPENDGATE_GRPC",
    help="Endpoint of the first worker; each further one has the next port (or PATH.1, PATH.2, …).",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    envvar="SPENDGATE_WORKERS",
    help="Processes, each an endpoint of its own.",
)
@gateway_options
def command(grpc: str, **shared: Any) -> None:
    """Serve Envoy's ext_proc (and gRPC health) for a mesh; Envoy itself is yours.

    Without --policy the policy is the controller's, from Redis; the last one known is kept in --data-dir.
    `spendgate render bootstrap` and `render envoyfilter` print the Envoy side.

    \b
    Example:
      spendgate serve --grpc 0.0.0.0:9002 --workers 4 --redis redis://redis:6379 --policy /etc/budgets
    """
    from spendgate.cli.options import metrics_dir

    metrics_dir()
    from spendgate.cli.run import run_serve

    run_serve(grpc, GatewayOptions(**shared))
