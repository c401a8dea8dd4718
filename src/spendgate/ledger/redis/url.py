"""Where a Redis is, by URL, and the clients made of it. Every part of spendgate connects through here.

    redis://[user:password@]host[:port][/db]                      one server
    unix:///path[?db=0]                                           one server, by its socket
    redis+cluster://[user:password@]host:port[,host:port…]        Redis Cluster; any of its nodes
    redis+sentinel://[user:password@]host:port[,host:port…]/name  the master that sentinels call `name`

`rediss` in place of `redis` is TLS, to nodes and sentinels alike. TLS and other options of redis-py follow as a
query: `ssl_ca_certs`, `ssl_certfile`, `ssl_keyfile`, `ssl_cert_reqs`, `ssl_check_hostname`; for sentinels also
`db`, `sentinel_username` and `sentinel_password`. Characters of a password that a URL cannot hold are
percent-encoded.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import field
from typing import Any, Literal, cast
from urllib.parse import unquote, urlunsplit

import redis.asyncio as aioredis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.connection import parse_url
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ConstantBackoff

from spendgate.errors import ConfigurationError
from spendgate.values import dataclass

PORT, SENTINEL_PORT = 6379, 26379
RETRY_S = 0.01
Kind = Literal["single", "cluster", "sentinel"]
HostPort = tuple[str, int]
_TLS_OPTIONS = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs", "ssl_check_hostname")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A URL, read. `options` are redis-py's, those of TLS included."""

    url: str
    kind: Kind
    hosts: tuple[HostPort, ...] = ()
    path: str = ""
    tls: bool = False
    db: int = 0
    username: str = ""
    password: str = ""
    master: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def shown(self) -> str:
        """The URL without its password, for messages."""
        return redacted(self.url)

    def ssl_context(self) -> ssl.SSLContext | None:
        """TLS as the options say; None without TLS. Raises ConfigurationError for a file that cannot be read."""
        if not self.tls:
            return None
        o = self.options
        try:
            context = ssl.create_default_context(cafile=o.get("ssl_ca_certs"))
            if not _is_true(o.get("ssl_check_hostname", True)) or o.get("ssl_cert_reqs") == "none":
                context.check_hostname = False
            if o.get("ssl_cert_reqs") == "none":
                context.verify_mode = ssl.CERT_NONE
            if o.get("ssl_certfile"):
                context.load_cert_chain(o["ssl_certfile"], o.get("ssl_keyfile"))
        except OSError as e:
            raise ConfigurationError(f"{self.shown}: TLS files: {e}") from e
        return context

    def greeting(self) -> list[tuple[Any, ...]]:
        """The commands that begin a connection to a node."""
        commands: list[tuple[Any, ...]] = []
        if self.password:
            who = (self.username,) if self.username else ()
            commands.append(("AUTH", *who, self.password))
        if self.db:
            commands.append(("SELECT", str(self.db)))
        return commands


def redacted(url: str) -> str:
    """A URL fit for logs."""
    scheme, netloc, path, _ = _split(url)
    _, secret, where = netloc.rpartition("@")
    return urlunsplit((scheme, f"***@{where}" if secret else netloc, path, "", ""))


_URL = re.compile(r"(?:([^:/?#]+):)?(?://([^/?#]*))?([^?#]*)(?:\?([^#]*))?(?:#.*)?", re.DOTALL)
"""RFC 3986, appendix B."""


def _split(url: str) -> tuple[str, str, str, str]:
    """Scheme, authority, path and query of anything. (`urlsplit` refuses several hosts with an IPv6 address among
    them, from some releases of Python 3.11 on.)"""
    found = _URL.fullmatch(url)
    assert found is not None, "the expression fits every text"
    scheme, netloc, path, query = (part or "" for part in found.groups())
    return scheme, netloc, path, query


def parse(url: str) -> RedisUrl:
    """Read a URL. Raises ConfigurationError that says what a URL looks like."""
    scheme, colon, _ = url.partition("://")
    if not colon or scheme not in _SCHEMES:
        raise ConfigurationError(
            f"not the URL of a Redis: {redacted(url)}; it starts with one of "
            f"{', '.join(f'{s}://' for s in _SCHEMES)}"
        )
    kind, tls = _SCHEMES[scheme]
    try:
        return _single(url, tls) if kind == "single" else _several(url, kind, tls)
    except ValueError as e:
        raise ConfigurationError(f"not the URL of a Redis: {redacted(url)}: {e}") from e


_SCHEMES: dict[str, tuple[Kind, bool]] = {
    "redis": ("single", False),
    "rediss": ("single", True),
    "unix": ("single", False),
    "redis+cluster": ("cluster", False),
    "rediss+cluster": ("cluster", True),
    "redis+sentinel": ("sentinel", False),
    "rediss+sentinel": ("sentinel", True),
}


def _single(url: str, tls: bool) -> RedisUrl:
    found: dict[str, Any] = dict(parse_url(url))
    found.pop("connection_class", None)
    path = str(found.pop("path", ""))
    host, port = str(found.pop("host", "localhost")), int(found.pop("port", PORT))
    return RedisUrl(
        url,
        "single",
        () if path else ((host, port),),
        path,
        tls,
        int(found.pop("db", 0) or 0),
        found.pop("username", "") or "",
        found.pop("password", "") or "",
        options=found,
    )


def _several(url: str, kind: Kind, tls: bool) -> RedisUrl:
    _, netloc, path, query = _split(url)
    userinfo, _, hosts = netloc.rpartition("@")
    given = dict(parse_url(urlunsplit(("redis", "host", "", query, ""))))
    options: dict[str, Any] = {k: v for k, v in given.items() if k not in ("host", "connection_class")}
    username, _, password = userinfo.partition(":")
    name = unquote(path.strip("/"))
    default = SENTINEL_PORT if kind == "sentinel" else PORT
    if kind == "sentinel" and (not name or "/" in name):
        raise ValueError(
            "name the master after the sentinels: redis+sentinel://host:26379,host:26379/mymaster"
        )
    if kind == "cluster" and (name not in ("", "0") or options.get("db")):
        raise ValueError("Redis Cluster has no numbered databases; leave the path away")
    return RedisUrl(
        url,
        kind,
        tuple(_host_port(h, default) for h in hosts.split(",")),
        "",
        tls,
        int(options.pop("db", 0) or 0),
        unquote(username),
        unquote(password),
        name if kind == "sentinel" else "",
        str(options.pop("sentinel_username", "")),
        str(options.pop("sentinel_password", "")),
        options,
    )


def _host_port(text: str, default: int) -> HostPort:
    host, colon, port = text.rpartition(":") if not text.endswith("]") else (text, "", "")
    if not colon:
        host, port = text, str(default)
    if not host or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"{text!r} is no HOST:PORT")
    return host.strip("[]"), int(port)


def _is_true(value: Any) -> bool:
    return str(value).lower() not in ("false", "0", "no", "off")


def client(url: str, timeout_s: float) -> aioredis.Redis:
    """redis-py's client for a URL; every call is bounded by `timeout_s` and tried once more on a new connection.

    Of Redis Cluster it is a RedisCluster, which has the same commands and pipelines. Raises ConfigurationError.
    """
    address = parse(url)
    common: dict[str, Any] = {
        "socket_timeout": timeout_s,
        "socket_connect_timeout": timeout_s,
        "username": address.username or None,
        "password": address.password or None,
    }
    common |= address.options
    retry = Retry(ConstantBackoff(RETRY_S), 1)
    try:
        if address.kind == "cluster":
            nodes = [ClusterNode(host, port) for host, port in address.hosts]
            made: Any = RedisCluster(startup_nodes=nodes, ssl=address.tls, **common)
            return cast(aioredis.Redis, made)
        common["db"] = address.db
        if address.kind == "sentinel":
            return cast(aioredis.Redis, sentinel(address, timeout_s).master_for(
                address.master, ssl=address.tls, retry=retry, **common
            ))  # fmt: skip
        if address.path:
            return aioredis.Redis(unix_socket_path=address.path, retry=retry, **common)
        ((host, port),) = address.hosts
        return aioredis.Redis(host=host, port=port, ssl=address.tls, retry=retry, **common)
    except TypeError as e:
        raise ConfigurationError(f"{address.shown}: an option that is not known: {e}") from e


def sentinel(address: RedisUrl, timeout_s: float) -> Sentinel:
    """The sentinels of an address, to ask for the master."""
    options = {k: v for k, v in address.options.items() if k in _TLS_OPTIONS}
    return Sentinel(  # type: ignore[no-untyped-call]
        list(address.hosts),
        sentinel_kwargs={
            "socket_timeout": timeout_s,
            "socket_connect_timeout": timeout_s,
            "username": address.sentinel_username or None,
            "password": address.sentinel_password or None,
            "ssl": address.tls,
            **options,
        },
    )
