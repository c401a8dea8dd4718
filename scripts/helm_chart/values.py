"""The chart's values: one model that values.yaml, values.schema.json and the reference page are written from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

K8S = Path(__file__).resolve().parents[2] / "k8s"
Json = dict[str, Any]
Port = int | str


def _default(path: str) -> Any:
    return yaml.safe_load((K8S / path).read_text("utf-8"))


def resources(path: str, container: str) -> Json:
    """What a container of k8s/ asks for and may use."""
    for document in yaml.safe_load_all((K8S / path).read_text("utf-8")):
        pod = document.get("spec", {})
        pod = pod.get("jobTemplate", {}).get("spec", pod).get("template", {}).get("spec", {})
        for found in pod.get("containers", ()):
            if found["name"] == container:
                out: Json = found["resources"]
                return out
    raise LookupError(f"k8s/{path} has no container {container}")


class Closed(BaseModel):
    """A field that is not here is an error: a misspelt value would be silently without effect."""

    model_config = ConfigDict(extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Pods(Closed):
    """What each workload's pods may be given."""

    pod_labels: dict[str, str] = Field({}, description="More labels of the pods.")
    pod_annotations: dict[str, str] = Field({}, description="Annotations of the pods.")
    node_selector: dict[str, str] = Field({}, description="Labels of the nodes that may run them.")
    tolerations: list[Json] = Field([], description="Taints of nodes that they bear.")
    affinity: Json = Field({}, description="In place of the affinity that the manifest has.")
    priority_class_name: str = Field("", description="Their priority class.")
    resources: Json = Field({}, description="Requests and limits of the container.")


class Programs(Pods):
    """Pods of our own commands, which read their settings from the environment."""

    env: list[Json] = Field([], description="More environment variables, as Kubernetes writes them.")


class Image(Closed):
    repository: str = Field("llm-gateway/spendgate", description="Where the image is, without tag.")
    tag: str = Field("", description="Empty: the version of the chart.")
    digest: str = Field(
        "",
        description="`sha256:…`: stands before the tag. A released chart names the image that was built with it.",
        pattern="^(sha256:[0-9a-f]{64})?$",
    )
    pull_policy: Literal["", "Always", "IfNotPresent", "Never"] = Field(
        "", description="Empty: Kubernetes' own default."
    )


class Crds(Closed):
    install: bool = Field(
        True, description="The kind LLMBudget is part of the release, and upgraded with it."
    )
    keep: bool = Field(
        True, description="`helm uninstall` leaves the kind, and with it all budgets, in the cluster."
    )


class ServiceAccount(Closed):
    annotations: dict[str, str] = Field({}, description="For the cloud's workload identity, for example.")


class Autoscaling(Closed):
    enabled: bool = Field(True, description="It is decided while they run how many there are.")
    by: Literal["cpu", "open-exchanges", "keda"] = Field(
        "cpu",
        description="`cpu`: for clusters of any age; `open-exchanges`: CPU and exchanges in flight, by an adapter that "
        "offers the pods' metric (Kubernetes 1.23); `keda`: the same, asked of `monitoring.prometheusUrl`.",
    )
    min_replicas: int = Field(2, ge=1, description="Least number of pods.")
    max_replicas: int = Field(20, ge=1, description="Greatest number of pods.")
    target_cpu_percent: int = Field(70, ge=1, le=100, description="CPU in use, of what is requested.")


class Spool(Closed):
    persistent: bool = Field(
        False,
        description="The spool and the last policy stand on a volume that outlives the pod: the gateways are a "
        "StatefulSet. Changing it replaces the gateways; let Redis answer meanwhile.",
    )
    size: str = Field("1Gi", description="Of each gateway's volume.")
    storage_class: str = Field("", description="Empty: the cluster's default.")


class Gateway(Programs):
    replicas: int = Field(2, ge=1, description="How many, where autoscaling is off.")
    autoscaling: Autoscaling = Field(default_factory=Autoscaling, description="How many there are.")
    spool: Spool = Field(default_factory=Spool, description="Settlements that wait for Redis.")
    service_account: ServiceAccount = Field(
        default_factory=ServiceAccount, description="Its service account."
    )
    termination_grace_period_seconds: int = Field(
        630, ge=60, description="As long as an answer may take (`drain_timeout`) and 30 s."
    )


class Controller(Programs):
    enabled: bool = Field(
        True, description="Off where budgets come from another cluster's controller on the same Redis."
    )
    replicas: int = Field(2, ge=1, description="One leads; the others wait.")
    ownership: Literal["strict", "open"] = Field(
        "strict", description="`strict`: a namespace holds its own team and those that its annotation grants."
    )
    watch_namespace: str = Field("", description="Empty: budgets of all namespaces.")
    reconcile_interval: str = Field("30s", description="How often statuses are written at most.")
    secret: str = Field(
        "llm-budget-secrets",
        description="Secret with `slack-webhook` or `slack-bot-token`, `notify-urls`, `mail-url`; need not be there.",
    )
    service_account: ServiceAccount = Field(
        default_factory=ServiceAccount, description="Its service account."
    )


class RedisImage(Closed):
    repository: str = Field("redis", description="Where it is, without tag.")
    tag: str = Field("", description="A version.")
    digest: str = Field(
        "", description="`sha256:…`: stands before the tag.", pattern="^(sha256:[0-9a-f]{64})?$"
    )


class Redis(Pods):
    mode: Literal["standalone", "sentinel", "external"] = Field(
        "standalone",
        description="`standalone`: one Redis with its file on a volume; `sentinel`: three with sentinels, which "
        "survive a node; `external`: one of yours (docs/how-to/managed-redis.md).",
    )
    secured: bool = Field(
        False,
        description="The standalone Redis with TLS (cert-manager) and users (Secret `redis-users`, key `users.acl`); "
        "its URL is then in `urlSecret`.",
    )
    url: str = Field(
        "",
        description="Of an external one, without a password: `rediss://host:6379/0` and the other forms of "
        "docs/how-to/redis.md. Empty: it is in `urlSecret`.",
    )
    url_secret: str = Field(
        "spendgate-redis",
        description="A Secret whose key `url` is the whole URL, user and password included.",
    )
    ca_secret: str = Field(
        "redis-tls",
        description="A Secret whose key `ca.crt` is the CA of an external or secured Redis; it need not be there. The "
        "URL names it: `?ssl_ca_certs=/etc/redis-ca/ca.crt`.",
    )
    egress: list[Json] = Field(
        [],
        description="Rules of a NetworkPolicy that reach an external one; empty: private addresses, usual ports.",
    )
    image: RedisImage = Field(default_factory=RedisImage, description="Of the shipped Redis.")
    storage: str = Field("10Gi", description="Of each shipped Redis' volume.")
    storage_class: str = Field("", description="Empty: the cluster's default.")


class Envoy(Pods):
    replicas: int = Field(2, ge=1, description="How many Envoys.")
    bootstrap: str = Field(
        "",
        description="Its configuration, printed by `spendgate render bootstrap`; empty: all calls go to "
        "api.openai.com.",
    )
    service: Json = Field(
        {}, description="More of the spec of the Service `llm`: `type: LoadBalancer`, for example."
    )


class FrontDoor(Closed):
    enabled: bool = Field(
        False, description="One HTTPS name for all providers, a Gateway of the Gateway API that Istio runs."
    )
    host: str = Field("llm.example.com", description="The name; its certificate is in the Secret `llm-tls`.")
    keys_secret: str = Field(
        "spendgate-keys",
        description="Secret with `keys.yaml`, who asks by which key (`spendgate keys list -o secret`).",
    )


class Istio(Closed):
    namespace: str = Field("istio-system", description="Where istiod and the egress gateway are.")
    sidecars: bool = Field(
        True, description="Also a filter at sidecars of pods with the label `spendgate: attached`."
    )
    egress: bool = Field(
        True, description="The way to api.openai.com and api.anthropic.com through the egress gateway."
    )
    front_door: FrontDoor = Field(default_factory=FrontDoor, description="For who has no sidecar.")
    revision: str = Field(
        "", description="Label `istio.io/rev` of the gateways' pods; empty: the default one's."
    )


class EnvoyGateway(Closed):
    namespace: str = Field("envoy-gateway-system", description="Where its proxies run.")
    gateway_class_name: str = Field("eg", description="Class of the Gateway `llm`.")
    routes: bool = Field(True, description="The Gateway `llm` with routes to OpenAI and Anthropic.")
    keys: bool = Field(
        False,
        description="The routes send the providers' keys, of the Secrets `openai-key` and `anthropic-key`, in place of "
        "callers'.",
    )


class Webhook(Pods):
    enabled: bool = Field(
        False,
        description="`kubectl apply` refuses a budget that `spendgate validate` refuses. Needs cert-manager.",
    )
    replicas: int = Field(2, ge=1, description="How many.")


class Switch(Closed):
    enabled: bool = Field(True, description="Whether it is installed.")


class Prometheus(Closed):
    enabled: bool = Field(
        True, description="PodMonitors, rules and dashboards; needs the Prometheus operator."
    )
    namespace: str = Field("monitoring", description="Where Prometheus runs: network policies let it in.")
    prometheus_url: str = Field(
        "http://prometheus-operated.monitoring.svc.cluster.local:9090",
        description="What the controller compares the ledger with, and rebuilds it from.",
    )
    labels: dict[str, str] = Field(
        {}, description="Of PodMonitors and rules: kube-prometheus-stack wants `release: NAME`."
    )
    dashboard_labels: dict[str, str] = Field(
        {"grafana_dashboard": "1"}, description="By which Grafana's sidecar finds the dashboards."
    )


class PriorityClass(Closed):
    create: bool = Field(
        False,
        description="A PriorityClass `spendgate` for gateways and Redis: not the first to go when a node is full.",
    )


class Doctor(Programs):
    enabled: bool = Field(True, description="Once a day over-budget requests prove the 429.")
    schedule: str = Field("23 5 * * *", description="When.")
    url: str = Field("", description="As clients reach the gateway; empty: the Envoy of this chart.")


class Export(Programs):
    enabled: bool = Field(
        False, description="Every night the books go to a bucket (Secret `spendgate-export`)."
    )
    schedule: str = Field("41 2 * * *", description="When.")
    service_account: ServiceAccount = Field(
        default_factory=ServiceAccount, description="Its service account."
    )


class Console(Closed):
    enabled: bool = Field(False, description="A Service for the controller's web page, port 80.")
    ingress: list[Json] = Field(
        [], description="Who may reach it (`from` of a NetworkPolicy); empty: this namespace's pods."
    )


class Values(Closed):
    """Values of the chart spendgate."""

    image: Image = Field(default_factory=Image, description="The image of spendgate.")
    image_pull_secrets: list[Json] = Field([], description="`[{name: …}]`, for a private registry.")
    cluster_domain: str = Field("cluster.local", description="The cluster's DNS domain.")
    trust_domain: str = Field("cluster.local", description="The domain of workloads' SPIFFE ids.")
    openshift: bool = Field(
        False, description="No user and group ids: the namespace's restricted-v2 SCC gives them."
    )
    crds: Crds = Field(default_factory=Crds, description="The kind LLMBudget.")
    user_roles: Switch = Field(
        default_factory=Switch, description="ClusterRoles llmbudget-viewer and llmbudget-editor."
    )
    config: Json = Field(
        default_factory=lambda: _default("base/config/config.yaml"),
        description="Settings of the gateways (docs/reference/settings.md); a change rolls them.",
    )
    prices: Json = Field(
        default_factory=lambda: _default("base/config/prices.yaml"),
        description="Prices on top of the built-in ones (docs/reference/prices.md); read while running.",
    )
    proxy: Literal["envoy", "istio", "envoy-gateway", "none"] = Field(
        "envoy",
        description="What spendgate is attached to: an Envoy of its own, Istio, Envoy Gateway, or something that "
        "you configure yourself.",
    )
    mtls: Literal["none", "cert-manager", "spire"] = Field(
        "none", description="Between Envoy and the gateways, where no mesh does it."
    )
    gateway: Gateway = Field(default_factory=Gateway, description="What Envoy asks.")
    controller: Controller = Field(default_factory=Controller, description="Budgets into policy and status.")
    redis: Redis = Field(default_factory=Redis, description="The ledger.")
    envoy: Envoy = Field(default_factory=Envoy, description="`proxy: envoy`.")
    istio: Istio = Field(default_factory=Istio, description="`proxy: istio`.")
    envoy_gateway: EnvoyGateway = Field(default_factory=EnvoyGateway, description="`proxy: envoy-gateway`.")
    webhook: Webhook = Field(default_factory=Webhook, description="Budgets checked at `kubectl apply`.")
    console: Console = Field(default_factory=Console, description="The web page.")
    monitoring: Prometheus = Field(default_factory=Prometheus, description="Prometheus and Grafana.")
    network_policies: Switch = Field(
        default_factory=Switch, description="Who may talk to whom in the namespace; all else is refused."
    )
    disruption_budgets: Switch = Field(
        default_factory=Switch, description="Node drains take one replica at a time."
    )
    priority_class: PriorityClass = Field(default_factory=PriorityClass, description="Who goes first.")
    doctor: Doctor = Field(default_factory=Doctor, description="Proves daily that budgets hold.")
    export: Export = Field(default_factory=Export, description="Books to an object store.")


def defaults() -> Values:
    """The model with what stands in the manifests: resources and the version of Redis."""
    out = Values()
    out.gateway.resources = resources("base/gateway.yaml", "gateway")
    out.controller.resources = resources("base/controller.yaml", "controller")
    out.redis.resources = resources("components/redis/redis.yaml", "redis")
    out.envoy.resources = resources("overlays/envoy/envoy.yaml", "envoy")
    out.webhook.resources = resources("components/webhook/webhook.yaml", "webhook")
    out.doctor.resources = resources("components/doctor/doctor.yaml", "doctor")
    out.export.resources = resources("components/export/export.yaml", "export")
    [redis] = {
        found["image"]
        for document in yaml.safe_load_all((K8S / "components/redis/redis.yaml").read_text("utf-8"))
        for found in document["spec"].get("template", {}).get("spec", {}).get("containers", ())
    }
    named, _, digest = redis.partition("@")
    out.redis.image.repository, _, out.redis.image.tag = named.partition(":")
    out.redis.image.digest = digest
    return out
