"""The providers' keys in an Istio gateway: put in by the providers' clusters, so that no application has one.

https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/credential_injector_filter
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

import yaml
from envoy_data_plane.envoy.config.core.v3 import ConfigSource, DataSource, PathConfigSource, WatchedDirectory
from envoy_data_plane.envoy.extensions.transport_sockets.tls.v3 import GenericSecret, Secret

from spendgate.envoy.istio import API_VERSION, patch_of
from spendgate.envoy.parts import HTTP_OPTIONS, Json, packed, plain
from spendgate.envoy.upstreams import secret_name, with_key
from spendgate.errors import ConfigurationError
from spendgate.identity.extractors import KEY_HEADERS
from spendgate.settings.config import Upstream

NAME = "provider-keys"
"""Of the Secret with the keys, by upstream, each the header's whole value; and of the ConfigMap that leads to them."""
FOLDER = "/etc/provider-keys"
"""Where the gateway's pod has both: `keys` and `sds`."""


def provider_keys(
    upstreams: Sequence[Upstream],
    namespace: str,
    selector: Mapping[str, str],
    port: int,
    folder: str = FOLDER,
) -> list[Json]:
    """The EnvoyFilter and the ConfigMap for the upstreams with a credential. `port`: of their ServiceEntry, which Istio
    speaks TLS from. Raises ConfigurationError where no upstream has a credential."""
    having = [(u, u.credential) for u in upstreams if u.credential is not None]
    if not having:
        raise ConfigurationError("no upstream of the settings has a credential (upstreams[].credential)")
    patches = []
    for upstream, credential in having:
        host = urlsplit(upstream.url).hostname or ""
        watched = WatchedDirectory(path=f"{folder}/sds")
        source = PathConfigSource(path=f"{folder}/sds/{upstream.name}.yaml", watched_directory=watched)
        putting_in = with_key(upstream.name, credential, ConfigSource(path_config_source=source))
        options = {"typed_extension_protocol_options": {HTTP_OPTIONS: plain(packed(putting_in))}}
        cluster = {"context": "GATEWAY", "cluster": {"service": host, "portNumber": port}}
        patches.append(patch_of("CLUSTER", cluster, "MERGE", options))
        vhost = {"context": "GATEWAY", "routeConfiguration": {"vhost": {"domainName": host}}}
        removed = {"request_headers_to_remove": list(KEY_HEADERS)}  # the client's key is not this provider's
        patches.append(patch_of("VIRTUAL_HOST", vhost, "MERGE", removed))
    return [
        {
            "apiVersion": API_VERSION,
            "kind": "EnvoyFilter",
            "metadata": {"name": f"spendgate-{NAME}", "namespace": namespace},
            "spec": {"workloadSelector": {"labels": dict(selector)}, "configPatches": patches},
        },
        {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": NAME, "namespace": namespace},
            "data": {f"{u.name}.yaml": _discovery(u.name, f"{folder}/keys/{u.name}") for u, _ in having},
        },
    ]


def _discovery(upstream: str, key: str) -> str:
    """What Envoy reads instead of a secret server: where the key is, never its text."""
    secret = Secret(name=secret_name(upstream), generic_secret=GenericSecret(secret=DataSource(filename=key)))
    return str(yaml.safe_dump({"resources": [plain(packed(secret))]}, sort_keys=False))
