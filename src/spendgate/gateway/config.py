"""The settings of a gateway: a YAML file, and `SPENDGATE_<KEY>` in the environment, which wins."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, field_validator

from spendgate.durations import parse_duration_ms
from spendgate.errors import ConfigurationError, Fault
from spendgate.gateway.identity import (
    ApiKeyExtractor,
    ClaimExtractor,
    Extractor,
    HeaderExtractor,
    SpiffeExtractor,
)

DurationMs = Annotated[int, BeforeValidator(parse_duration_ms)]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class HeaderIdentity(_Model):
    """Identity from plain headers."""

    kind: Literal["headers"]
    team: str = "x-llm-team"
    app: str = "x-llm-app"
    user: str = "x-llm-user"


class SpiffeIdentity(_Model):
    """Identity from the mTLS principal; the pattern names the groups team, app, user."""

    kind: Literal["spiffe"]
    pattern: str = r"^spiffe://[^/]+/ns/(?P<team>[^/]+)/sa/(?P<app>[^/]+)$"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, value: str) -> str:
        try:
            groups = re.compile(value).groupindex
        except re.error as e:
            raise ValueError(f"not a regular expression: {e}") from e
        if "team" not in groups:
            raise ValueError("name a group: (?P<team>…)")
        return value


class JwtIdentity(_Model):
    """Identity from claims of a JWT that Envoy's jwt_authn filter verified."""

    kind: Literal["jwt"]
    team: str = "team"
    app: str = "azp"
    user: str = "sub"


class ApiKeyEntry(_Model):
    """One API key by its SHA-256 in hex."""

    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    team: str
    app: str = ""


class ApiKeyIdentity(_Model):
    """Identity from a hashed API key."""

    kind: Literal["api-key"]
    header: str = "authorization"
    keys: tuple[ApiKeyEntry, ...] = ()


IdentitySource = Annotated[
    HeaderIdentity | SpiffeIdentity | JwtIdentity | ApiKeyIdentity, Field(discriminator="kind")
]


class Upstream(_Model):
    """A provider: `url` is its base, `models` the globs it serves (empty: all), `dialects` those it speaks
    (empty: all)."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    url: str
    models: tuple[str, ...] = ()
    dialects: tuple[str, ...] = ()

    @field_validator("url")
    @classmethod
    def _absolute(cls, value: str) -> str:
        return upstream_url(value)


def upstream_url(value: str) -> str:
    """Check an upstream's URL: http or https, a host, no query. Raises ValueError."""
    parts = urlsplit(value)
    try:
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
    if parts.scheme not in ("http", "https") or not parts.hostname or not port_ok:
        raise ValueError(f"not an upstream URL: {value!r}; write for example https://api.openai.com")
    if parts.query or parts.fragment or parts.username or parts.path not in ("", "/"):
        raise ValueError(
            f"an upstream URL is scheme, host and port only, without path, query or user: {value!r}"
        )
    return value.rstrip("/")


class Settings(_Model):
    """Every setting of a gateway, with its default. Durations are kept in milliseconds."""

    identity: tuple[IdentitySource, ...] = (HeaderIdentity(kind="headers"),)
    """Where team, app and user come from, in order: the first source that names a team wins."""
    upstreams: tuple[Upstream, ...] = ()
    """The providers; a request goes to the first that serves its model and dialect."""
    unbudgeted: Literal["allow", "reject"] = "allow"
    """What teams without a budget may do; they are metered in any case."""
    reservation_ttl: DurationMs = 30_000
    """How long a hold lives without being renewed; then it is charged at the estimate."""
    ledger_timeout: DurationMs = 250
    """How long a reservation may take before the ledger counts as away (rule 10: fail open, bounded)."""
    message_timeout: DurationMs = 2_000
    """How long Envoy waits for one answer of a worker."""
    stream_idle_timeout: DurationMs = 600_000
    """How long a stream may be silent before Envoy ends it."""
    drain_timeout: DurationMs = 30_000
    """How long open exchanges may go on after SIGTERM."""
    reload_interval: DurationMs = 500
    """How often policy and price files are looked at for changes."""
    default_output_tokens: int = Field(default=4096, ge=1, le=10_000_000)
    """The output cap assumed for a request without one, where the model's own maximum is not lower."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    """The longest LLM body, both ways, in bytes; above it 413, before anything is reserved."""
    usage_log: str = ""
    """A path, `-` for standard output, `off`; empty: `DATA_DIR/usage.jsonl`."""
    failure_mode: Literal["open", "closed"] = "open"
    """What Envoy does with traffic while no worker answers at all."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written to standard error."""
    forward_identity_headers: bool = False
    """Do providers see the headers that carry identity? They name teams and apps, so by default not."""
    max_unbudgeted_teams: int = Field(default=10_000, ge=0)
    """Team names without a budget that a process keeps apart; later ones count as `unattributed`."""
    max_label_values: int = Field(default=2_000, ge=10)
    """At most so many (team, app, model) series a process; more are counted under `other`."""

    def extractors(self) -> tuple[Extractor, ...]:
        """Build the identity extractors in order."""
        out: list[Extractor] = []
        for source in self.identity:
            match source:
                case HeaderIdentity():
                    out.append(HeaderExtractor(source.team.lower(), source.app.lower(), source.user.lower()))
                case SpiffeIdentity():
                    out.append(SpiffeExtractor(re.compile(source.pattern)))
                case JwtIdentity():
                    out.append(ClaimExtractor(source.team, source.app, source.user))
                case ApiKeyIdentity():
                    keys = {k.sha256: (k.team, k.app) for k in source.keys}
                    out.append(ApiKeyExtractor(keys, source.header.lower()))
        return tuple(out)


_DICT_KEYS = ("identity", "upstreams")


def _env_values(environ: Mapping[str, str]) -> dict[str, object]:
    values: dict[str, object] = {}
    for key in Settings.model_fields:
        raw = environ.get(f"SPENDGATE_{key.upper()}")
        if raw is None:
            continue
        values[key] = yaml.safe_load(raw) if key in _DICT_KEYS else raw
    return values


def load_config(path: Path | None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the config file (None: defaults) and the environment.

    Raises ConfigurationError with every fault: file and line, field, what to do.
    """
    document: dict[str, object] = {}
    lines: dict[str, int] = {}
    name = str(path) if path else "environment"
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigurationError([Fault(name, 0, "", f"can not be read: {e}")]) from e
        try:
            node = yaml.compose(text, Loader=yaml.SafeLoader)
            loaded = yaml.safe_load(text)
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            line = mark.line + 1 if mark else 0
            raise ConfigurationError([Fault(name, line, "", f"not YAML: {e}")]) from e
        if loaded is None:
            loaded = {}
        if not isinstance(loaded, dict):
            raise ConfigurationError([Fault(name, 1, "", "not a mapping", "write `setting: value` lines")])
        document = loaded
        if isinstance(node, yaml.MappingNode):
            lines = {str(k.value): k.start_mark.line + 1 for k, _ in node.value}
    document = {**document, **_env_values(environ or {})}
    try:
        return Settings.model_validate(document)
    except ValidationError as e:
        raise ConfigurationError([_fault(name, lines, error) for error in e.errors()]) from e


def _fault(name: str, lines: dict[str, int], error: object) -> Fault:
    assert isinstance(error, dict)
    loc = [str(part) for part in error["loc"]]
    top = loc[0] if loc else ""
    remedy = ""
    problem = str(error["msg"]).removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        problem = "unknown setting"
        near = difflib.get_close_matches(loc[-1], list(Settings.model_fields), n=1)
        remedy = f"did you mean {near[0]}?" if near else "see docs/reference/settings"
    return Fault(name, lines.get(top, 0), ".".join(loc), problem, remedy)
