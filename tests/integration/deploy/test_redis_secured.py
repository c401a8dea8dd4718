"""The component redis-secured: its command, the page's users and a certificate make a Redis for its user alone."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import yaml
from support.manifests import K8S, ROOT
from support.pki import Authority
from support.ports import free_port
from support.processes import until
from support.redis import server_of

from spendgate.ledger.redis.server_check import check_server

PAGE = (ROOT / "docs/how-to/managed-redis.md").read_text(encoding="utf-8")


def command() -> list[str]:
    [container] = yaml.safe_load((K8S / "components/redis-secured/redis.yaml").read_text())["spec"][
        "template"
    ]["spec"]["containers"]
    words: list[str] = container["command"]
    return words


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("secured")
    found = re.search(r'users\.acl="(user default .*?)"', PAGE, re.DOTALL)
    assert found, "the page shows the users"
    (folder / "users.acl").write_text(found[1].replace("$PASSWORD", "secret") + "\n")
    authority = Authority(folder)
    certificate, key = authority.issue("redis", ip="127.0.0.1")
    config = (K8S / "components/redis/redis.conf").read_text()
    (folder / "redis.conf").write_text(
        config.replace("dir /data", f"dir {folder}").replace("bind * -::*", "bind 127.0.0.1")
    )
    port = free_port()
    places = {
        "/etc/redis/redis.conf": str(folder / "redis.conf"), "/etc/redis-tls/tls.crt": certificate,
        "/etc/redis-tls/tls.key": key, "/etc/redis-tls/ca.crt": str(authority.file),
        "/etc/redis-users/users.acl": str(folder / "users.acl"), "6379": str(port),
    }  # fmt: skip
    program, *arguments = command()
    assert program == "redis-server"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [server_of("redis-7.0"), *(places.get(a, a) for a in arguments)],
            stdout=log,
            stderr=log,
            cwd=folder,
        )
    try:
        until(lambda: (folder / "log").read_text(), lambda t: "Ready to accept" in t, "Redis", 30)
        yield {"port": port, "ca": str(authority.file)}
    finally:
        process.terminate()
        process.wait(30)


async def test_the_ledger_finds_all_rights_that_it_needs(server: dict[str, Any]) -> None:
    url = f"rediss://gateway:secret@127.0.0.1:{server['port']}/0?ssl_ca_certs={server['ca']}"
    assert [f for f in await check_server(url) if f.severity == "error"] == []


def test_who_is_not_known_may_ping_and_nothing_else(server: dict[str, Any]) -> None:
    client = redis.Redis("127.0.0.1", server["port"], ssl=True, ssl_ca_certs=server["ca"])
    assert client.ping()
    for call in (lambda: client.get("sg1:policy"), lambda: client.set("x", 1), client.info, client.flushall):
        with pytest.raises(redis.exceptions.NoPermissionError):
            call()


def test_a_wrong_password_and_a_connection_without_tls_are_refused(server: dict[str, Any]) -> None:
    wrong = redis.Redis(
        "127.0.0.1", server["port"], ssl=True, ssl_ca_certs=server["ca"], username="gateway", password="x"
    )
    with pytest.raises(redis.exceptions.AuthenticationError):
        wrong.ping()
    with pytest.raises((redis.exceptions.ConnectionError, redis.exceptions.TimeoutError)):
        redis.Redis("127.0.0.1", server["port"], socket_timeout=3).ping()
