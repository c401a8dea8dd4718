"""The settings under `upstreams:` and `tls:`: the providers with their keys, and the listener's certificate."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from spendgate.errors import ConfigurationError

BEARER = "Bearer "
_PREFIX = r"^(/[A-Za-z0-9._~-]+)*$"


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Credential(_Model):
    """The provider's own key, which Envoy puts in the place of the client's. It is read by Envoy itself, and stands in
    no configuration and no log."""

    env: str = Field(default="", pattern=r"^[A-Za-z0-9_]*$")
    """The environment variable that holds it (of Envoy's process)."""
    file: str = ""
    """The file that holds it; white space at its end is no part of it."""
    header: str = Field(default="authorization", pattern=r"^[A-Za-z0-9_-]+$")
    """Anthropic: `x-api-key`; Azure: `api-key`; Google: `x-goog-api-key`."""
    prefix: str | None = None
    """What stands before the key; left out: `Bearer ` in `authorization`, nothing elsewhere."""

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.env) == bool(self.file):
            raise ValueError("give env or file: where the provider's key is")
        return self

    @property
    def before(self) -> str:
        """The effective prefix."""
        if self.prefix is not None:
            return self.prefix
        return BEARER if self.header.lower() == "authorization" else ""

    def missing(self, environ: Mapping[str, str] = os.environ) -> str:
        """Why there is no key, "" where there is one."""
        if self.env:
            return "" if environ.get(self.env, "").strip() else f"environment variable {self.env} is not set"
        try:
            text = Path(self.file).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            return f"{self.file} cannot be read: {getattr(e, 'strerror', None) or e}"
        return "" if text.strip() else f"{self.file} is empty"


class Upstream(_Model):
    """A provider. A request goes to the first upstream that serves its model and dialect, after routing and
    downgrades; where none does, to the default one."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    url: str
    """Scheme, host and port."""
    models: tuple[str, ...] = ()
    """Globs of the models that it serves; empty: all."""
    dialects: tuple[str, ...] = ()
    """The dialects that it speaks; empty: all."""
    provider: str = ""
    """Whose prices count (`azure`, `groq`, …); empty: the URL's host tells."""
    default_model: str = ""
    """The model that answers requests that name none; empty: not known, so they are held as unpriced models."""
    residency: str = ""
    """The place whose surcharge counts (`us`, `eu`, `regional`); empty: the request's address tells."""
    stream_usage: Literal["ask", "never"] = "ask"
    """Is the usage of a stream asked for (`stream_options`) where the client did not? `never`: such streams are
    counted, or charged what is held for them."""
    default: bool = False
    """Gets what no upstream serves, and the paths that no dialect claims. Left out everywhere: the first upstream
    without `models`, else the first."""
    authority: str = ""
    """The Host that it sees; empty: that of the URL."""
    strip_prefix: str = Field(default="", pattern=_PREFIX)
    """Taken off the beginning of the path, for example `/v1`."""
    path_prefix: str = Field(default="", pattern=_PREFIX)
    """Put before the path, for example `/openai`."""
    credential: Credential | None = None
    """Left out: the client's own key goes to the provider."""

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return upstream_url(value)


def upstream_url(value: str) -> str:
    """Check an upstream's URL: http or https, a host, no query. Raises ValueError."""
    try:
        parts = urlsplit(value)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        parts, port_ok = urlsplit(""), False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        raise ValueError(f"not an upstream URL: {value!r}; write for example https://api.openai.com")
    if parts.query or parts.fragment or parts.username or parts.path not in ("", "/"):
        raise ValueError(
            f"an upstream URL is scheme, host and port only, without path, query or user: {value!r}; "
            "a path belongs into path_prefix"
        )
    return value.rstrip("/")


def default_upstream(upstreams: tuple[Upstream, ...]) -> Upstream | None:
    """The upstream for what none serves, None without any."""
    marked = (u for u in upstreams if u.default)
    every = (u for u in upstreams if not u.models)
    return next(marked, None) or next(every, None) or next(iter(upstreams), None)


def check_credentials(upstreams: tuple[Upstream, ...], environ: Mapping[str, str] = os.environ) -> None:
    """Raises ConfigurationError naming every key that is not there."""
    missing = [
        f"upstream {u.name}: {why}; set it, or take `credential` away"
        for u in upstreams
        if u.credential is not None and (why := u.credential.missing(environ))
    ]
    if missing:
        raise ConfigurationError("\n".join(missing))


class ListenerTls(_Model):
    """TLS for clients, for `up` and `render bootstrap`."""

    certificate: str
    """The chain, PEM."""
    key: str
    """Its private key, PEM."""
    client_ca: str = ""
    """Client certificates are verified against these authorities (mTLS); empty: none is asked for."""
    client_certificate: Literal["required", "optional"] = "required"
    """May a client come without one?"""
