"""The Envoy beside a gateway: only a caller with one of the named certificates gets through, and a certificate that
is replaced, as Kubernetes replaces a Secret's, is used without a restart."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
import yaml
from cryptography import x509
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from support.manifests import ROOT
from support.pki import Authority
from support.ports import free_port
from support.processes import until

from spendgate.envoy.mtls import Files, terminator
from spendgate.supervisor.front import envoy_binary

SERVER, ENVOY, OTHER = (
    f"spiffe://cluster.local/ns/llm-gateway/sa/{n}" for n in ("spendgate", "llm-envoy", "app")
)


@dataclass
class Door:
    """The running pair and the authority that both sides believe."""

    folder: Path
    authority: Authority
    port: int

    def secret(self, version: str) -> None:
        """Put a new certificate into the folder as the kubelet does: all files at once, by one symbolic link."""
        certificate, key = self.authority.issue(f"server-{version}", uri=SERVER, ip="127.0.0.1")
        data = self.folder / f"..{version}"
        data.mkdir()
        for source, name in ((certificate, "tls.crt"), (key, "tls.key"), (self.authority.file, "ca.crt")):
            shutil.copy(source, data / name)
        (self.folder / "..new").symlink_to(data.name)
        (self.folder / "..new").rename(self.folder / "..data")
        for name in ("tls.crt", "tls.key", "ca.crt"):
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")

    def call(self, uri: str, authority: Authority | None = None) -> str:
        """What a caller with this certificate gets ("": without one)."""
        root = self.authority.file.read_bytes()
        pair: tuple[bytes | None, bytes | None] = (None, None)
        if uri:
            certificate, key = (authority or self.authority).issue("client", uri=uri)
            pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
        credentials = grpc.ssl_channel_credentials(root, *pair)
        options = [("grpc.enable_http_proxy", 0)]
        with grpc.secure_channel(f"127.0.0.1:{self.port}", credentials, options) as channel:
            try:
                answer = health_pb2_grpc.HealthStub(channel).Check(
                    health_pb2.HealthCheckRequest(), timeout=20
                )
            except grpc.RpcError as e:
                return str(e.code().name)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))

    def served(self) -> int:
        """The serial number of the certificate that is shown."""
        shown = subprocess.run(
            ["openssl", "s_client", "-connect", f"127.0.0.1:{self.port}", "-tls1_3"],
            input="", capture_output=True, text=True, check=False,
        ).stdout  # fmt: skip
        pem = shown[shown.index("-----BEGIN") : shown.index("-----END CERTIFICATE-----")]
        return x509.load_pem_x509_certificate((pem + "-----END CERTIFICATE-----\n").encode()).serial_number


@pytest.fixture(scope="module")
def door(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Door]:
    folder = tmp_path_factory.mktemp("mtls")
    secret = folder / "secret"
    secret.mkdir()
    made = Door(secret, Authority(folder / "pki"), free_port())
    made.secret("one")
    server = grpc.server(ThreadPoolExecutor(2))
    servicer = health.HealthServicer()
    servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    inside = f"127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    files = Files(str(secret), str(folder))
    for name, document in files.secrets().items():
        (folder / name).write_text(json.dumps(document))
    config = terminator(f"127.0.0.1:{made.port}", inside, f"127.0.0.1:{free_port()}", files, [ENVOY])
    (folder / "envoy.yaml").write_text(json.dumps(config))
    with (folder / "log").open("wb") as log:
        envoy = subprocess.Popen(
            [envoy_binary(), "-c", str(folder / "envoy.yaml"), "--use-dynamic-base-id", "--concurrency", "1"],
            stdout=log, stderr=log,
        )  # fmt: skip
    try:
        until(lambda: made.call(ENVOY) if envoy.poll() is None else (folder / "log").read_text(),
              lambda s: s == "SERVING", "the door", 60)  # fmt: skip
        yield made
    finally:
        envoy.terminate()
        envoy.wait(60)
        server.stop(None)


def test_the_envoy_that_is_named_gets_through(door: Door) -> None:
    assert door.call(ENVOY) == "SERVING"


@pytest.mark.parametrize("uri", [OTHER, ""])
def test_any_other_certificate_and_none_are_refused(door: Door, uri: str) -> None:
    assert door.call(uri) == "UNAVAILABLE"


def test_a_certificate_of_the_right_name_by_another_authority_is_refused(door: Door, tmp_path: Path) -> None:
    assert door.call(ENVOY, Authority(tmp_path)) == "UNAVAILABLE"


def test_a_replaced_certificate_is_used_without_a_restart(door: Door) -> None:
    before = door.served()
    door.secret("two")
    until(door.served, lambda serial: serial != before, "the new certificate", 60)
    assert door.call(ENVOY) == "SERVING"


@pytest.mark.parametrize(
    "name", ["k8s/components/spire/sidecar-envoy.yaml", "k8s/overlays/envoy-spire/bootstrap.yaml"]
)
def test_a_real_envoy_accepts_what_asks_spire_for_certificates(name: str) -> None:
    config = ROOT / name
    assert "spire-agent.sock" in json.dumps(yaml.safe_load(config.read_text()))
    done = subprocess.run(
        [envoy_binary(), "--mode", "validate", "-c", str(config)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_certificates_of_the_component_carry_the_names_that_the_envoys_demand() -> None:
    text = (ROOT / "k8s/components/tls/certificates.yaml").read_text()
    uris = {
        d["metadata"]["name"]: d["spec"]["uris"]
        for d in yaml.safe_load_all(text)
        if d["kind"] == "Certificate" and "uris" in d["spec"]
    }
    assert uris == {"spendgate": [SERVER], "llm-envoy": [ENVOY]}
    assert ENVOY in (ROOT / "k8s/components/tls/sidecar-envoy.yaml").read_text()
    assert SERVER in (ROOT / "k8s/overlays/envoy-tls/bootstrap.yaml").read_text()
