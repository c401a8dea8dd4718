"""Where the API server is and how to log in: a kubeconfig file, or what a pod is given.

Read: `clusters[].cluster` (server, certificate-authority[-data], insecure-skip-tls-verify, tls-server-name)
and `users[].user` (token, tokenFile, client-certificate[-data], client-key[-data]). Login by a helper program
(`exec`, `auth-provider`) is refused with a remedy: a controller runs by a service account.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import ssl
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from spendgate.errors import ConfigurationError, Fault
from spendgate.values import dataclass

POD_FILES = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where Kubernetes mounts a pod's token, CA and namespace."""


@dataclass(frozen=True, slots=True)
class Access:
    """One API server and one identity. `token_file` wins over `token`: it is renewed while we run."""

    server: str
    tls: ssl.SSLContext | None
    token: str = ""
    token_file: Path | None = None
    namespace: str = ""
    """Of the pod, or of the kubeconfig's context."""

    def bearer(self) -> str:
        """The token to send now, "" where a certificate is the login."""
        if self.token_file is None:
            return self.token
        try:
            return self.token_file.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigurationError(f"{self.token_file}: the token cannot be read: {e}") from e


def cluster_of(access: Access) -> str:
    """A name of the API server that no other cluster has: by its certificate authorities, else by its address."""
    authorities = sorted(access.tls.get_ca_certs(binary_form=True)) if access.tls is not None else []
    return hashlib.sha256(b"".join(authorities) or access.server.encode()).hexdigest()[:12]


def find_access(environ: Mapping[str, str], pod_files: Path = POD_FILES) -> Access:
    """KUBECONFIG where it is set, else the pod's own, else ~/.kube/config. Raises ConfigurationError."""
    named = environ.get("KUBECONFIG", "")
    if named:
        paths = [Path(p) for p in named.split(os.pathsep) if p]
        return from_kubeconfig(next((p for p in paths if p.exists()), paths[0]))
    if environ.get("KUBERNETES_SERVICE_HOST"):
        return from_pod(environ, pod_files)
    default = Path(environ.get("HOME", "/")) / ".kube" / "config"
    if default.exists():
        return from_kubeconfig(default)
    raise ConfigurationError(
        f"no cluster: this is no pod, KUBECONFIG is not set and {default} does not exist; set KUBECONFIG to a file"
    )


def from_pod(environ: Mapping[str, str], files: Path = POD_FILES) -> Access:
    """The service account that a pod is given. Raises ConfigurationError where its files are missing."""
    host, port = environ["KUBERNETES_SERVICE_HOST"], environ.get("KUBERNETES_SERVICE_PORT", "443")
    if ":" in host:
        host = f"[{host}]"
    try:
        tls = ssl.create_default_context(cafile=str(files / "ca.crt"))
        namespace = (files / "namespace").read_text().strip()
    except (OSError, ssl.SSLError) as e:
        raise ConfigurationError(
            f"{files}: {e}; give the pod a service account (automountServiceAccountToken: true)"
        ) from e
    access = Access(f"https://{host}:{port}", tls, token_file=files / "token", namespace=namespace)
    access.bearer()
    return access


def from_kubeconfig(path: Path) -> Access:
    """The current context of a kubeconfig. Raises ConfigurationError that names file and field."""
    try:
        config = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as e:
        raise ConfigurationError([Fault(str(path), 0, "", f"cannot be read: {e}", "check KUBECONFIG")]) from e
    if not isinstance(config, dict):
        raise _fault(path, "", "is no kubeconfig", "write one with `kubectl config`")
    current = config.get("current-context") or ""
    context = _named(path, config, "contexts", "context", current)
    cluster = _named(path, config, "clusters", "cluster", str(context.get("cluster", "")))
    user = _named(path, config, "users", "user", str(context.get("user", ""))) if context.get("user") else {}
    for helper in ("exec", "auth-provider"):
        if helper in user:
            raise _fault(
                path, f"users[].user.{helper}", "needs a helper program", "use a service account's token"
            )
    server = str(cluster.get("server", "")).rstrip("/")
    if not server.startswith(("https://", "http://")):
        raise _fault(path, "clusters[].cluster.server", f"is {server!r}", "give https://HOST:PORT")
    token_file = user.get("tokenFile")
    return Access(
        server,
        _tls(path, cluster, user) if server.startswith("https") else None,
        token=str(user.get("token", "")),
        token_file=_relative(path, token_file) if token_file else None,
        namespace=str(context.get("namespace", "") or ""),
    )


def _tls(path: Path, cluster: Mapping[str, Any], user: Mapping[str, Any]) -> ssl.SSLContext:
    try:
        data = cluster.get("certificate-authority-data")
        if data:
            tls = ssl.create_default_context(cadata=base64.b64decode(data).decode("ascii"))
        elif cluster.get("certificate-authority"):
            tls = ssl.create_default_context(cafile=str(_relative(path, cluster["certificate-authority"])))
        else:
            tls = ssl.create_default_context()
        if cluster.get("insecure-skip-tls-verify"):
            tls.check_hostname = False
            tls.verify_mode = ssl.CERT_NONE
        _client_certificate(tls, path, user)
    except (OSError, ssl.SSLError, ValueError, binascii.Error) as e:
        raise _fault(
            path, "", f"has a certificate that cannot be read: {e}", "write the kubeconfig anew"
        ) from e
    return tls


def _client_certificate(tls: ssl.SSLContext, path: Path, user: Mapping[str, Any]) -> None:
    names: list[str] = []
    with tempfile.TemporaryDirectory() as folder:  # ssl loads a key from files only
        for key in ("client-certificate", "client-key"):
            if user.get(f"{key}-data"):
                file = Path(folder) / key
                file.touch(mode=0o600)
                file.write_bytes(base64.b64decode(user[f"{key}-data"]))
                names.append(str(file))
            elif user.get(key):
                names.append(str(_relative(path, user[key])))
        if len(names) == 2:
            tls.load_cert_chain(names[0], names[1])
        elif names:
            raise ValueError("client-certificate and client-key belong together")


def _named(path: Path, config: Mapping[str, Any], group: str, key: str, name: str) -> dict[str, Any]:
    for entry in config.get(group) or ():
        if isinstance(entry, dict) and entry.get("name") == name and isinstance(entry.get(key), dict):
            found: dict[str, Any] = entry[key]
            return found
    raise _fault(
        path, group, f"has no entry named {name!r}", "choose a context by `kubectl config use-context`"
    )


def _relative(path: Path, given: str) -> Path:
    return path.parent / given


def _fault(path: Path, field: str, problem: str, remedy: str) -> ConfigurationError:
    return ConfigurationError([Fault(str(path), 0, field, problem, remedy)])
