from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from spendgate.controller.kube.access import find_access, from_kubeconfig
from spendgate.errors import ConfigurationError


def kubeconfig(path: Path, user: dict[str, Any], server: str = "http://127.0.0.1:1") -> Path:
    path.write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "c", "cluster": {"server": server}}],
                "users": [{"name": "u", "user": user}],
                "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "ns"}}],
                "current-context": "x",
            }
        )
    )
    return path


def test_the_current_context_is_used(tmp_path: Path) -> None:
    access = find_access({"KUBECONFIG": str(kubeconfig(tmp_path / "k", {"token": "secret"}))})
    assert (access.server, access.bearer(), access.namespace) == ("http://127.0.0.1:1", "secret", "ns")


def test_a_token_file_is_read_anew_at_every_call(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("one\n")
    access = from_kubeconfig(kubeconfig(tmp_path / "k", {"tokenFile": "token"}))
    assert access.bearer() == "one"
    (tmp_path / "token").write_text("two\n")
    assert access.bearer() == "two"


@pytest.mark.parametrize(
    ("user", "server", "says"),
    [
        ({"exec": {"command": "gke"}}, "http://h:1", r"users\[\].user.exec.*service account"),
        ({"token": "t"}, "h:1", r"clusters\[\].cluster.server: is 'h:1'"),
        ({"client-certificate-data": "!!"}, "https://h:1", "certificate that cannot be read"),
    ],
)
def test_a_kubeconfig_that_can_not_work_is_refused_by_field(
    tmp_path: Path, user: dict[str, Any], server: str, says: str
) -> None:
    with pytest.raises(ConfigurationError, match=says):
        from_kubeconfig(kubeconfig(tmp_path / "k", user, server))


def test_a_context_that_does_not_exist_is_named(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path / "k", {})
    path.write_text(path.read_text().replace("current-context: x", "current-context: y"))
    with pytest.raises(ConfigurationError, match="contexts: has no entry named 'y'"):
        from_kubeconfig(path)


def test_without_any_cluster_the_error_says_what_to_set(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="set KUBECONFIG"):
        find_access({"HOME": str(tmp_path)})


def test_a_pod_without_a_service_account_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="automountServiceAccountToken"):
        find_access({"KUBERNETES_SERVICE_HOST": "10.0.0.1"}, pod_files=tmp_path)
