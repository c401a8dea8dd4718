"""A real kube-apiserver on a real etcd, for tests: throw-away certificates, RBAC, tokens, in one folder."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import yaml

from support.ports import free_port
from support.processes import program, until

ROOT = Path(__file__).resolve().parents[2]
START_S = 120.0
IDENTITIES = {
    "admin": ("admin", '"system:masters"'),
    "viewer": ("viewer", ""),
    "editor": ("editor", ""),
    "controller": (
        "system:serviceaccount:llm-gateway:llm-budget-controller",
        '"system:serviceaccounts,system:serviceaccounts:llm-gateway,system:authenticated"',
    ),
    "webhook": (
        "system:serviceaccount:llm-gateway:llm-budget-webhook",
        '"system:serviceaccounts,system:serviceaccounts:llm-gateway,system:authenticated"',
    ),
}
"""Token name → user, groups. The token is `NAME-token`."""


def binaries() -> tuple[str, str]:
    """kube-apiserver and etcd, made where there are none (minutes, once; see the script)."""
    out = subprocess.run(
        [str(ROOT / "scripts" / "kube_apiserver.sh")], stdout=subprocess.PIPE, check=True, text=True
    ).stdout.split()
    return out[0], out[1]


AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        {"level": "Metadata", "users": [IDENTITIES[n][0] for n in ("controller", "webhook")]},
        {"level": "None"},
    ],
}
"""What our own processes ask of the API server is written down, by the API server."""


@dataclass(frozen=True)
class Request:
    """One request as the API server saw it. `resource` has its subresource: `llmbudgets/status`."""

    verb: str
    resource: str
    at: float
    code: int


@dataclass
class Cluster:
    """One running pair. Every process is its own and ends with `stop`."""

    folder: Path
    apiserver_path: str
    etcd_path: str
    port: int = field(default_factory=free_port)
    etcd_port: int = field(default_factory=free_port)
    peer_port: int = field(default_factory=free_port)
    etcd: subprocess.Popen[bytes] | None = None
    apiserver: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start both and wait until the API server is ready."""
        self._certificates()
        (self.folder / "audit.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
        for name in IDENTITIES:
            self.kubeconfig(name)
        url = f"http://127.0.0.1:{self.etcd_port}"
        peer = f"http://127.0.0.1:{self.peer_port}"
        self.etcd = self._run(
            "etcd", [self.etcd_path, "--data-dir", str(self.folder / "etcd"),
            "--listen-client-urls", url, "--advertise-client-urls", url,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", f"default={peer}"],
        )  # fmt: skip
        self.start_apiserver()

    def start_apiserver(self) -> None:
        """Start the API server (again) on the same etcd and port."""
        f = self.folder
        self.apiserver = self._run(
            "apiserver", [self.apiserver_path, f"--etcd-servers=http://127.0.0.1:{self.etcd_port}",
            "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1", f"--secure-port={self.port}",
            f"--tls-cert-file={f}/tls.crt", f"--tls-private-key-file={f}/tls.key",
            f"--client-ca-file={f}/tls.crt", f"--token-auth-file={f}/tokens.csv",
            "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
            f"--service-account-key-file={f}/sa.pub", f"--service-account-signing-key-file={f}/sa.key",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--audit-policy-file={f}/audit.yaml", f"--audit-log-path={f}/audit.log",
            "--service-cluster-ip-range=10.0.0.0/24", "--disable-admission-plugins=ServiceAccount"],
        )  # fmt: skip
        deadline = time.monotonic() + START_S
        while not self.ready():
            if self.apiserver.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(
                    f"the API server did not start:\n{(f / 'apiserver.log').read_text()[-3000:]}"
                )
            time.sleep(0.1)

    def ready(self) -> bool:
        """Does /readyz say ok?"""
        context = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}/readyz", headers={"Authorization": "Bearer admin-token"}
        )
        try:
            with urllib.request.urlopen(request, timeout=2, context=context) as answer:
                return bool(answer.read() == b"ok")
        except OSError:
            return False

    def kubeconfig(self, name: str) -> Path:
        """The kubeconfig of an identity."""
        path = self.folder / f"{name}.kubeconfig"
        server = {"server": f"https://127.0.0.1:{self.port}", "certificate-authority": "tls.crt"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": server}],
            "users": [{"name": name, "user": {"token": f"{name}-token"}}],
            "contexts": [
                {"name": "test", "context": {"cluster": "test", "user": name, "namespace": "default"}}
            ],
            "current-context": "test",
        }
        path.write_text(yaml.safe_dump(config))
        return path

    def kubectl(
        self,
        *args: str,
        stdin: str | None = None,
        user: str = "admin",
        check: bool = True,
        warnings: bool = False,
    ) -> str:
        """Run kubectl; its output, stderr too where it failed and `check` is off, or with `warnings`."""
        done = subprocess.run(
            [program("kubectl"), f"--kubeconfig={self.kubeconfig(user)}", f"--cache-dir={self.folder}/cache", *args],
            input=stdin, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        if check and done.returncode != 0:
            raise RuntimeError(f"kubectl {' '.join(args)}: {done.stderr}")
        return done.stdout if done.returncode == 0 and not warnings else done.stdout + done.stderr

    def established(self) -> None:
        """Wait until the server serves every CRD that it was given. (`kubectl wait` fails on one that was created a
        moment ago and has no conditions yet.)"""

        def waiting() -> list[str]:
            return [
                crd["metadata"]["name"]
                for crd in self.get("crd")["items"]
                if not any(
                    c["type"] == "Established" and c["status"] == "True"
                    for c in crd.get("status", {}).get("conditions") or ()
                )
            ]

        until(waiting, lambda names: not names, "the CRDs", 60)

    def get(self, *args: str) -> Any:
        """kubectl get as data."""
        return json.loads(self.kubectl("get", *args, "-o", "json"))

    def read(self, path: str) -> Any:
        """GET a path of the API as the admin: what is asked often, kubectl is too slow for."""
        context = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        request = urllib.request.Request(
            f"https://127.0.0.1:{self.port}{path}", headers={"Authorization": "Bearer admin-token"}
        )
        with urllib.request.urlopen(request, timeout=30, context=context) as answer:
            return json.loads(answer.read())

    def apply(self, *documents: dict[str, Any]) -> None:
        """kubectl apply, server-side."""
        self.kubectl(
            "apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(documents)
        )

    def requests(self, identity: str = "controller") -> list[Request]:
        """Every request of our own process of an identity so far, each once, a watch from its beginning; in order."""
        user, seen, out = IDENTITIES[identity][0], set(), []
        log = self.folder / "audit.log"
        for line in log.read_text().splitlines() if log.exists() else ():
            try:
                event = json.loads(line)
            except ValueError:
                continue  # it is being written, or was cut short by a kill
            ours = event["user"]["username"] == user and event.get("userAgent", "").startswith("spendgate")
            if not ours or event["auditID"] in seen:
                continue
            seen.add(event["auditID"])
            what = event.get("objectRef", {})
            name = what.get("resource", "") + (f"/{what['subresource']}" if "subresource" in what else "")
            at = datetime.fromisoformat(event["requestReceivedTimestamp"]).timestamp()
            out.append(Request(event["verb"], name, at, event.get("responseStatus", {}).get("code", 0)))
        return sorted(out, key=lambda r: r.at)

    def signal_apiserver(self, number: signal.Signals) -> None:
        """Freeze (SIGSTOP), thaw (SIGCONT) or end the API server."""
        assert self.apiserver is not None
        self.apiserver.send_signal(number)

    def compact(self) -> None:
        """Let etcd forget every revision but the last, by its own gRPC gateway."""

        def call(path: str, body: dict[str, Any]) -> Any:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.etcd_port}/v3/{path}", data=json.dumps(body).encode()
            )
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.loads(answer.read())

        revision = call("kv/range", {"key": "AA=="})["header"]["revision"]
        call("kv/compaction", {"revision": revision, "physical": True})

    def stop(self) -> None:
        """End both."""
        for process in (self.apiserver, self.etcd):
            if process is not None and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()

    def _run(self, name: str, argv: list[str]) -> subprocess.Popen[bytes]:
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(argv, stdout=log, stderr=subprocess.STDOUT, cwd=self.folder)

    def _certificates(self) -> None:
        def openssl(*args: str) -> None:
            subprocess.run(["openssl", *args], cwd=self.folder, check=True, capture_output=True)

        self.folder.mkdir(parents=True, exist_ok=True)
        openssl("genrsa", "-out", "sa.key", "2048")
        openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        openssl(
            "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-keyout", "tls.key",
            "-out", "tls.crt", "-subj", "/CN=kube-apiserver",
            "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost",
            "-addext", "basicConstraints=critical,CA:TRUE",
        )  # fmt: skip
        rows = [f"{n}-token,{user},{n},{groups}" for n, (user, groups) in IDENTITIES.items()]
        tokens = self.folder / "tokens.csv"
        tokens.touch(mode=0o600)
        tokens.write_text("\n".join(rows) + "\n")


def environment(**extra: str) -> dict[str, str]:
    """This process's environment without what would lead a controller to another cluster."""
    names = ("KUBERNETES_SERVICE_HOST", "KUBECONFIG", "REDIS_URL", "WATCH_NAMESPACE", "POD_NAME")
    return {k: v for k, v in os.environ.items() if k not in names and not k.startswith("SPENDGATE_")} | extra
