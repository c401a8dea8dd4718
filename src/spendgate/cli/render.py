"""`spendgate render`: what stands around a gateway, printed: Envoy, mesh, CRD, rules, dashboards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Print configuration for Envoy, meshes, Kubernetes, Prometheus and Grafana.

    \b
    Example: spendgate render bootstrap --listen 0.0.0.0:10000 --upstream https://api.openai.com \\
               --grpc 127.0.0.1:9002 --workers 2 > envoy.yaml
    """


@command.command()
@click.option("--listen", required=True, metavar="HOST:PORT", help="Where clients connect.")
@click.option("--upstream", metavar="URL", help="The provider; several by --config.")
@click.option(
    "--grpc",
    "grpc",
    required=True,
    multiple=True,
    metavar="HOST:PORT|unix:PATH",
    help="Endpoint of `spendgate serve`; repeatable.",
)
@click.option(
    "--workers",
    type=click.IntRange(1, 64),
    default=1,
    show_default=True,
    help="Workers behind a single --grpc.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
@click.option("--envoy-admin", default="", metavar="HOST:PORT", help="Envoy's own admin address.")
@click.option(
    "--stats",
    default="",
    metavar="HOST:PORT",
    help="Where Prometheus scrapes Envoy's own counters (/stats/prometheus); needs --envoy-admin.",
)
@click.option(
    "--entry",
    type=click.Choice(["ext_proc", "ext_authz"]),
    default="ext_proc",
    show_default=True,
    help="By which filter Envoy asks; ext_authz can refuse, but change nothing.",
)
@click.option("--lean", is_flag=True, help="Answers whose cost Envoy can tell by itself pass unseen.")
def bootstrap(
    listen: str,
    upstream: str | None,
    grpc: tuple[str, ...],
    workers: int,
    config: Path | None,
    envoy_admin: str,
    stats: str,
    entry: Literal["ext_proc", "ext_authz"],
    lean: bool,
) -> None:
    """A complete Envoy bootstrap: listener, routes, our filter, provider and gateway clusters.

    \b
    Example: spendgate render bootstrap --upstream https://api.openai.com --grpc 127.0.0.1:9002 > envoy.yaml
    """
    from spendgate.envoy import bootstrap as b
    from spendgate.settings.config import load_config
    from spendgate.supervisor.addresses import endpoints

    settings = load_config(config, os.environ)
    if lean:
        settings = settings.model_copy(update={"lean": True})
    upstreams = (b.one_upstream(upstream),) if upstream else settings.upstreams
    addresses = endpoints(grpc[0], workers) if len(grpc) == 1 else list(grpc)
    config_of = b.bootstrap(listen, upstreams, addresses, settings, envoy_admin, entry, stats)
    click.echo(b.as_yaml(config_of), nl=False)


@command.command()
def crd() -> None:
    """The CustomResourceDefinition of LLMBudget, made from the policy's own model.

    \b
    Example: spendgate render crd | kubectl apply --server-side -f -
    """
    from spendgate.controller.crd import crd_yaml

    click.echo(crd_yaml(), nl=False)


@command.command()
@click.option(
    "-o",
    "--output",
    type=click.Choice(["file", "prometheusrule"]),
    default="file",
    show_default=True,
    help="A rule file for `rule_files`, or the Prometheus operator's kind.",
)
@click.option(
    "--runbooks",
    metavar="URL",
    default="docs/runbooks",
    show_default=True,
    help="Where the runbooks are published; each alert's link is URL/ALERT.md.",
)
@click.option(
    "--aborted-percent",
    type=click.FloatRange(0, 100),
    default=5.0,
    show_default=True,
    help="SpendgateAborted: the share of a team's spend of a day for calls that clients left.",
)
def rules(output: str, runbooks: str, aborted_percent: float) -> None:
    """Prometheus rules: alerts on budgets and on spendgate itself, and what is worth recording.

    \b
    Example: spendgate render rules > spendgate-rules.yaml
             spendgate render rules -o prometheusrule | kubectl apply -n monitoring -f -
    """
    from spendgate.monitoring.catalogue import groups
    from spendgate.monitoring.rules import as_yaml, prometheus_rule, rule_file

    make = rule_file if output == "file" else prometheus_rule
    click.echo(as_yaml(make(groups(aborted_percent), runbooks)), nl=False)


@command.command()
@click.option(
    "--name",
    type=click.Choice(["chargeback", "operations"]),
    required=True,
    help="Which: for finance and teams, or for those on call.",
)
@click.option(
    "--runbooks", metavar="URL", default="", help="Where the runbooks are published; panels link there."
)
def dashboard(name: str, runbooks: str) -> None:
    """A Grafana dashboard as plain JSON, to import or to provision.

    \b
    Example: spendgate render dashboard --name chargeback > chargeback.json
    """
    from spendgate.monitoring.dashboards import DASHBOARDS
    from spendgate.monitoring.panels import as_json

    click.echo(as_json(DASHBOARDS[name](runbooks)), nl=False)


def _labels(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for value in values:
        key, sign, label = value.partition("=")
        if not sign or not key:
            raise click.BadParameter(f"not KEY=VALUE: {value!r}")
        out[key] = label
    return out


@command.command()
@click.option(
    "--service",
    default="spendgate.spendgate.svc.cluster.local",
    show_default=True,
    metavar="HOST",
    help="Full name of the service of `spendgate serve`; its port is named grpc.",
)
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9002, show_default=True, help="The service's port."
)
@click.option(
    "--attach",
    type=click.Choice(["gateway", "sidecar"]),
    default="gateway",
    show_default=True,
    help="To gateways, or to the sidecars of applications (what they send out).",
)
@click.option(
    "--namespace", default="istio-system", show_default=True, help="Of the EnvoyFilter and of its workloads."
)
@click.option(
    "--selector",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_labels,
    help="Label of the workloads; repeatable. Default for gateways: istio=egressgateway.",
)
@click.option(
    "--not-last",
    is_flag=True,
    help="What these Envoys send to LLMs meets this filter again, at an egress gateway: it is counted there.",
)
@click.option(
    "--host",
    "hosts",
    multiple=True,
    metavar="HOST",
    help="An LLM host; repeatable. Only calls to these meet the filter, no other pays for it. Default: every call.",
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
def envoyfilter(
    service: str, port: int, attach: str, namespace: str, selector: dict[str, str], not_last: bool,
    hosts: tuple[str, ...], config: Path | None,
) -> None:  # fmt: skip
    """The EnvoyFilter that attaches spendgate to Istio.

    \b
    Example: spendgate render envoyfilter --host api.openai.com --host api.anthropic.com | kubectl apply -f -
             spendgate render envoyfilter --attach sidecar --namespace ml-platform | kubectl apply -f -
    """
    from spendgate.envoy.bootstrap import as_yaml
    from spendgate.envoy.istio import envoy_filter
    from spendgate.settings.config import load_config

    if attach == "gateway" and not selector:
        selector = {"istio": "egressgateway"}
    settings = load_config(config, os.environ)
    where: Literal["gateway", "sidecar"] = "gateway" if attach == "gateway" else "sidecar"
    document = envoy_filter(
        service, port, namespace, where, selector, settings, last=not not_last, llm_hosts=hosts
    )
    click.echo(as_yaml(document), nl=False)


@command.command("provider-keys")
@click.option("--config", type=click.Path(path_type=Path), required=True, help="Settings with `upstreams`.")
@click.option(
    "--namespace",
    default="istio-system",
    show_default=True,
    help="Of the gateway, its Secret and its ConfigMap.",
)
@click.option(
    "--selector",
    multiple=True,
    metavar="KEY=VALUE",
    callback=_labels,
    help="Label of the gateway; repeatable. Default: istio=egressgateway.",
)
@click.option(
    "--port",
    type=click.IntRange(1, 65535),
    default=80,
    show_default=True,
    help="Of the providers' ServiceEntry, from which the gateway speaks TLS.",
)
def provider_keys(config: Path, namespace: str, selector: dict[str, str], port: int) -> None:
    """The providers' keys in an Istio gateway: an EnvoyFilter, and where Envoy finds each key.

    The keys are files of the Secret `provider-keys`, one for each upstream with a `credential` and by its name, each
    the header's whole value (`Bearer sk-…`), mounted at /etc/provider-keys/keys. The ConfigMap `provider-keys` is
    mounted at /etc/provider-keys/sds.

    \b
    Example: spendgate render provider-keys --config spendgate.yaml | kubectl apply -f -
    """
    from spendgate.envoy.bootstrap import as_yaml
    from spendgate.envoy.istio_keys import provider_keys as keys
    from spendgate.settings.config import load_config

    upstreams = load_config(config, os.environ).upstreams
    documents = keys(upstreams, namespace, selector or {"istio": "egressgateway"}, port)
    click.echo("---\n".join(as_yaml(d) for d in documents), nl=False)


@command.command("extension-policy")
@click.option("--gateway", default="", metavar="NAME", help="The Gateway to attach to.")
@click.option(
    "--route",
    default="",
    metavar="NAME",
    help="An HTTPRoute to attach to: one that has a policy of its own, which takes the place of the Gateway's.",
)
@click.option(
    "--without",
    multiple=True,
    type=click.Choice(["BackendTrafficPolicy", "ClientTrafficPolicy"]),
    help="A kind of which the target has a policy already: of two the older binds. Its fields belong into that one.",
)
@click.option("--namespace", default="default", show_default=True, help="Of the target and the policies.")
@click.option("--service", default="spendgate", show_default=True, help="The service of `spendgate serve`.")
@click.option("--service-namespace", default="spendgate", show_default=True, help="Its namespace.")
@click.option(
    "--port", type=click.IntRange(1, 65535), default=9002, show_default=True, help="The service's port."
)
@click.option("--config", type=click.Path(path_type=Path), help="Settings file.")
def extension_policy(
    gateway: str, route: str, without: tuple[str, ...], namespace: str, service: str, service_namespace: str,
    port: int, config: Path | None,
) -> None:  # fmt: skip
    """The policies that attach spendgate to an Envoy Gateway: EnvoyExtensionPolicy, BackendTrafficPolicy and
    what they need.

    \b
    Example: spendgate render extension-policy --gateway llm --namespace gateways | kubectl apply -f -
    """
    from spendgate.envoy.bootstrap import as_yaml
    from spendgate.envoy.envoy_gateway import Target, extension_policies
    from spendgate.settings.config import load_config

    settings = load_config(config, os.environ)
    if bool(gateway) == bool(route):
        raise click.UsageError("give --gateway NAME or --route NAME")
    target = Target("HTTPRoute", route) if route else Target("Gateway", gateway)
    made = extension_policies(target, namespace, service, service_namespace, port, settings)
    documents = [d for d in made if d["kind"] not in without]
    click.echo("---\n".join(as_yaml(d) for d in documents), nl=False)
