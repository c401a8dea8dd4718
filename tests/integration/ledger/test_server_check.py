"""What a Redis lacks is named, with what to do; a good one has no complaint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from support.topologies import Place, acl, places, raw, running

from spendgate.doctor.examine import Installation, examine
from spendgate.errors import ConfigurationError
from spendgate.ledger.redis.server_check import ServerFinding, check_server, server_findings

GOOD = {"redis_version": "7.2.4", "role": "master", "maxmemory_policy": "noeviction", "aof_enabled": 1}


@pytest.fixture(scope="module", params=[p for p in places() if p[0] != "cluster"], ids="/".join)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    kind, version = request.param
    with running(kind, version, tmp_path_factory.mktemp("place")) as made:
        yield made


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with running("secured", "redis-7.0", tmp_path_factory.mktemp("secured")) as made:
        yield made


def complaints(findings: list[ServerFinding]) -> list[tuple[str, str]]:
    return [(f.severity, f.subject) for f in findings if f.severity != "ok"]


async def test_every_promised_server_lacks_nothing_but_the_file_that_it_does_not_keep(place: Place) -> None:
    findings = await check_server(place.url, 30.0)
    assert set(complaints(findings)) == {("warning", "durability")}
    subjects = {f.subject for f in findings if f.severity == "ok"}
    assert {"connection", "version", "role", "eviction", "rights", "clock"} <= subjects
    assert ("cluster" in subjects) == ("cluster" in place.url)
    if "cluster" in place.url:
        assert len({f.place for f in findings if f.subject == "version"}) == 3
    admin = place.admin()
    assert admin.keys("sg1:{~check}*") == []
    admin.close()


async def test_a_right_that_is_missing_is_named(secured: Place) -> None:
    (node,) = secured.nodes
    for less, subject in (("-hincrby", "HINCRBY"), ("-eval", "EVAL and EVALSHA"), ("-subscribe", "SUBSCRIBE"),
                          ("-info", "INFO is refused")):  # fmt: skip
        with contextlib.closing(node.client()) as c:
            raw(c, "ACL", "SETUSER", "gateway", less)
        found = [f for f in await check_server(secured.url, 30.0) if f.subject == "rights"]
        assert found[0].found.startswith(subject), found
        assert "ACL SETUSER" in found[0].remedy
        acl(node)


async def test_who_may_not_come_in_is_told_how() -> None:
    (found,) = await check_server("redis://127.0.0.1:1/0", 2.0)
    assert (found.severity, found.subject) == ("error", "connection")
    with pytest.raises(ConfigurationError):
        await check_server("http://127.0.0.1:1")


async def test_a_wrong_password_is_told_apart(secured: Place) -> None:
    (found, *_) = await check_server(secured.url.replace("p%40ss", "wrong"), 30.0)
    assert (found.severity, found.subject) == ("error", "connection")
    assert "USER:PASSWORD" in found.remedy
    assert "wrong" not in found.found


@pytest.mark.parametrize(
    ("fields", "complaint"),
    [
        ({}, None),
        ({"redis_version": "6.0.16"}, ("error", "version")),
        ({"role": "slave"}, ("error", "role")),
        ({"maxmemory_policy": "allkeys-lru"}, ("error", "eviction")),
        ({"maxmemory": 100, "used_memory": 95}, ("warning", "memory")),
        ({"aof_enabled": 0}, ("warning", "durability")),
        ({"aof_last_write_status": "err"}, ("error", "durability")),
        ({"rdb_last_bgsave_status": "err"}, ("warning", "durability")),
        ({"loading": 1}, ("error", "loading")),
    ],
)
def test_each_lack_has_its_finding_and_its_remedy(
    fields: dict[str, object], complaint: tuple[str, str] | None
) -> None:
    found = [f for f in server_findings(GOOD | fields) if f.severity != "ok"]
    assert [(f.severity, f.subject) for f in found] == ([complaint] if complaint else [])
    assert all(f.remedy for f in found)


async def test_the_doctor_tells_of_rights_and_of_each_master(
    secured: Place, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (node,) = secured.nodes
    with contextlib.closing(node.client()) as c:
        raw(c, "ACL", "SETUSER", "gateway", "-hincrby")
    found = [f for f in await examine(Installation(redis=secured.url)) if f.code == "redis-rights"]
    assert [f.problem.partition(":")[0] for f in found] == ["HINCRBY"]
    acl(node)
    with running("cluster", "redis-8.2", tmp_path_factory.mktemp("cluster")) as cluster:
        lame = cluster.nodes[1]
        with contextlib.closing(lame.client()) as c:
            raw(c, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
        (found_one,) = [f for f in await examine(Installation(redis=cluster.url)) if "thrown away" not in f.problem
                        and f.code == "redis-eviction"]  # fmt: skip
        assert found_one.where.endswith(str(lame.port))
