"""The gateway as it stands in a mesh: `spendgate serve` behind Envoys that are configured as the mesh would, with
what `spendgate render` prints merged in. Looks to a test like `spendgate up` (support.gateway.Gateway).

- `istio-gateway`: the application's sidecar, mTLS to the egress gateway with the EnvoyFilter, mTLS to the gateway.
- `istio-sidecar`: the EnvoyFilter in the application's own sidecar, mTLS to the gateway.
- `envoy-gateway`: Envoy Gateway with the policies.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import httpx
import yaml

from spendgate.envoy.istio import cluster_name
from spendgate.envoy.mtls import Files, terminator, with_client
from spendgate.envoy.parts import TYPE, plain
from spendgate.envoy.routes import removed_headers
from spendgate.settings.config import load_config
from spendgate.supervisor.front import envoy_binary
from support.envoy_gateway import configured
from support.gateway import Gateway
from support.istio import patched, proxy
from support.pki import Authority
from support.ports import free_port
from support.processes import SPENDGATE, Command, until

Json = dict[str, Any]
HOUSES = ("istio-gateway", "istio-sidecar", "envoy-gateway")
SERVICE = "spendgate.llm-gateway.svc.cluster.local"
IDS = {
    "gateway": "spiffe://cluster.local/ns/llm-gateway/sa/spendgate",
    "egress": "spiffe://cluster.local/ns/istio-system/sa/istio-egressgateway-service-account",
    "app": "spiffe://cluster.local/ns/ml-platform/sa/chat",
}


class Mesh(Gateway):
    """A running house; a context manager. `app`: the application's SPIFFE id."""

    hosts: tuple[str, ...] = ()
    """Virtual hosts of their own at the Envoy that carries the filter (Istio)."""

    def __init__(
        self,
        folder: Path,
        upstream: str,
        policy: str = "",
        *,
        house: str,
        config: Mapping[str, Any] | None = None,
        prices: str = "",
        clean: bool = True,
        env: Mapping[str, str] | None = None,
        app: str = IDS["app"],
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.data_dir, self.clean = folder, folder / "data", clean
        self.policy_path = folder / "policy.yaml"
        self.port, self.admin_port, self.grpc = free_port(), free_port(), f"127.0.0.1:{free_port()}"
        argv = ["serve", "--grpc", self.grpc, "--admin", f"127.0.0.1:{self.admin_port}"]
        argv += ["--data-dir", str(self.data_dir)]
        self._config: list[str] = []
        if policy:
            self.policy_path.write_text(policy)
            argv += ["--policy", str(self.policy_path)]
        if prices:
            (folder / "prices.yaml").write_text(prices)
            argv += ["--prices", str(folder / "prices.yaml")]
        if config:
            (folder / "config.yaml").write_text(json.dumps(config))
            self._config = ["--config", str(folder / "config.yaml")]
        self.command = Command(folder, argv + self._config, env)
        self.command.ready()
        self.url = f"http://127.0.0.1:{self.port}"
        self.admin = httpx.Client(base_url=f"http://127.0.0.1:{self.admin_port}", trust_env=False, timeout=60)
        self.envoys: list[subprocess.Popen[bytes]] = []
        self.authority = Authority(folder / "pki")
        self.ids = {**IDS, "app": app}
        self._upstream = upstream.removeprefix("http://")
        try:
            self._start(house)
            until(self._passes, bool, f"Envoy of {house}", 60)
        except BaseException:
            self._end_envoys()
            self.command.stop()
            raise

    def __exit__(self, kind: type[BaseException] | None, value: object, trace: TracebackType | None) -> None:
        try:
            super().__exit__(kind, value, trace)
        finally:
            self._end_envoys()

    def _end_envoys(self) -> None:
        for envoy in self.envoys:
            envoy.terminate()
        for envoy in self.envoys:
            envoy.wait(60)

    def _start(self, house: str) -> None:
        listen = f"127.0.0.1:{self.port}"
        if house == "envoy-gateway":
            printed = self._rendered("extension-policy", "--gateway", "llm", "--namespace", "llm-gateway",
                                     "--service-namespace", "llm-gateway")  # fmt: skip
            path = Path(self._config[1]) if self._config else None
            removed = removed_headers(load_config(path))
            documents = list(yaml.safe_load_all(printed))
            self._envoy("envoy", configured(listen, self._upstream, self.grpc, documents, removed))
            return
        inside, egress = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
        attach = house.removeprefix("istio-")
        caller = "egress" if attach == "gateway" else "app"
        self._envoy(
            "inbound",
            terminator(
                inside, self.grpc, f"127.0.0.1:{free_port()}", self._files("gateway"), [self.ids[caller]]
            ),
        )
        selector = ["--selector", "istio=egressgateway" if attach == "gateway" else "app=chat"]
        printed = self._rendered("envoyfilter", "--service", SERVICE, "--attach", attach, *selector)
        cluster = cluster_name(SERVICE, 9002)
        at = egress if attach == "gateway" else listen
        merged = patched(proxy(at, self._upstream, inside, cluster, self.hosts), yaml.safe_load(printed))
        merged = with_client(merged, self._files(caller), [self.ids["gateway"]], cluster)
        if attach == "gateway":
            self._take_mtls(merged, "egress")
            self._envoy("app", self._sidecar(listen, egress))
        self._envoy("attached", merged)

    def _files(self, name: str) -> Files:
        """A certificate as Istio gives each workload, in a folder of its own."""
        folder = self.folder / "pki" / name
        if not folder.exists():
            folder.mkdir()
            certificate, key = self.authority.issue(name, uri=self.ids[name])
            shutil.copy(certificate, folder / "tls.crt")
            shutil.copy(key, folder / "tls.key")
            shutil.copy(self.authority.file, folder / "ca.crt")
        files = Files(str(folder), str(folder))
        for file, secret in files.secrets().items():
            (folder / file).write_text(json.dumps(secret))
        return files

    def _take_mtls(self, config: Json, name: str) -> None:
        """The listener as a Gateway with `tls: {mode: ISTIO_MUTUAL}` makes it."""
        files = self._files(name)
        [chain] = config["static_resources"]["listeners"][0]["filter_chains"]
        chain["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": TYPE + "extensions.transport_sockets.tls.v3.DownstreamTlsContext",
                "require_client_certificate": True,
                "common_tls_context": {
                    "alpn_protocols": ["h2", "http/1.1"],
                    "tls_certificate_sds_secret_configs": [plain(files.certificate())],
                    "validation_context_sds_secret_config": plain(files.authorities()),
                },
            },
        }  # fmt: skip

    def _sidecar(self, listen: str, egress: str) -> Json:
        """The application's sidecar: everything goes to the egress gateway, with the application's certificate."""
        config = proxy(listen, egress, "127.0.0.1:9", "unused")
        return with_client(config, self._files("app"), [self.ids["egress"]], "provider", "http/1.1")

    def _rendered(self, *argv: str) -> str:
        done = subprocess.run(
            [SPENDGATE, "render", *argv, *self._config], capture_output=True, text=True, check=True
        )
        return done.stdout

    def _envoy(self, name: str, config: Json) -> None:
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(config))
        with (self.folder / f"{name}.log").open("wb") as log:
            self.envoys.append(
                subprocess.Popen(
                    [envoy_binary(), "-c", str(path), "--use-dynamic-base-id", "--concurrency", "1",
                     "--log-level", "warning"],
                    stdout=log, stderr=log,
                )
            )  # fmt: skip

    def _passes(self) -> bool:
        """The whole way is there: an answer of the provider's, decided on by the gateway."""
        for envoy in self.envoys:
            assert envoy.poll() is None, "\n".join(p.read_text() for p in self.folder.glob("*.log"))
        try:
            body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
            answer = httpx.post(f"{self.url}/v1/chat/completions", json=body, trust_env=False, timeout=10)
        except httpx.TransportError:
            return False
        return answer.status_code not in (502, 503) and "x-spendgate-reason" in answer.headers
