"""The settings of a gateway: a YAML file, and `SPENDGATE_<KEY>` in the environment, which wins."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from spendgate.dialects.registry import DIALECTS
from spendgate.durations import parse_duration_ms
from spendgate.errors import ConfigurationError, Fault
from spendgate.identity import headers as h
from spendgate.identity.api_keys import KeyRing
from spendgate.identity.identity import Extractor
from spendgate.identity.tags import TAGS_MAX, TagSource
from spendgate.records.rotation import Rotation
from spendgate.settings import reject_status
from spendgate.settings.identity import (
    ApiKeyEntry,
    ApiKeyIdentity,
    HeaderIdentity,
    IdentitySource,
    JwtIdentity,
    SpiffeIdentity,
    SpiffeRule,
    TagFrom,
    TagName,
)
from spendgate.settings.upstreams import (
    Credential,
    ListenerTls,
    Upstream,
    default_upstream,
    upstream_url,
)

__all__ = [
    "ApiKeyEntry", "ApiKeyIdentity", "Credential", "HeaderIdentity", "JwtIdentity", "ListenerTls", "Settings",
    "SpiffeIdentity", "SpiffeRule", "Upstream", "default_upstream", "load_config", "upstream_url",
]  # fmt: skip

DurationMs = Annotated[int, BeforeValidator(parse_duration_ms)]
LONGEST_MESSAGE_TIMEOUT_MS = 10_000
RejectStatus = Literal[400, 402, 403, 429]


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Settings(_Model):
    """Every setting of a gateway, with its default. Durations are kept in milliseconds."""

    identity: tuple[IdentitySource, ...] = (HeaderIdentity(kind="headers"),)
    """Where team, app and user come from, in order: the first source that names a team wins."""
    tags: Mapping[TagName, TagFrom] = Field(default_factory=dict)
    """More dimensions of a request, and where each stands: `{project: {baggage: project}}` (`header`, `claim`); 16."""
    trust_request_user: bool = False
    """Is the request's own `user` field, which a client can make up, the user where nothing else names one?"""
    upstreams: tuple[Upstream, ...] = ()
    """The providers; a request goes to the first that serves its model and dialect."""
    tls: ListenerTls | None = None
    """A certificate for the listener, and whose client certificates are believed."""
    passthrough: Literal["allow", "identified", "reject"] = "allow"
    """Who may use paths that no dialect claims: everybody, callers whose team is known (else 401), nobody (404)."""
    websockets: Literal["reject", "pass"] = "reject"
    """WebSockets of teams whose budget binds: refused (426; 403 without such an API over HTTP) or passed unmetered."""
    unreadable: Literal["reject", "estimate"] = "reject"
    """LLM requests that cannot be read, of teams whose budget enforces: 400, or held at the dearest price by length."""
    unknown_apis: Literal["", "reject", "pass"] = Field(
        default="", validation_alias=AliasChoices("unknown_apis", "unknownApis")
    )
    """Calls that may cost money and are not metered, where a budget enforces: 403, or passed; empty: see dialects."""
    unbudgeted: Literal["allow", "reject"] = "allow"
    """What teams without a budget may do; they are metered in any case."""
    reservation_ttl: DurationMs = 30_000
    """How long a hold lives without being renewed; then it is charged at the estimate."""
    unseen_ttl: DurationMs = 900_000
    """How long a hold of ext_authz or of a lean route waits for its access log entry; then it is charged."""
    unlogged_attempts: Literal["hold", "free"] = "hold"
    """What an attempt of Envoy's beside the answered one is charged where no access log tells of it; see attempts."""
    ledger_timeout: DurationMs = 250
    """How long a reservation may take until the ledger counts as away (fail open: [rule 10](decision.md#rule-10))."""
    hold_wait: DurationMs = 0
    """How long a request that only others' holds keep out is waited for; at most 0.45 of `message_timeout`."""
    message_timeout: DurationMs = 2_000
    """How long Envoy waits for one answer of a worker."""
    stream_idle_timeout: DurationMs = 1_200_000
    """How long a request or its answer may be silent before Envoy ends it: longer than clients wait."""
    drain_timeout: DurationMs = 600_000
    """How long open exchanges may go on after SIGTERM; it ends with the last of them. A second signal ends the wait."""
    reload_interval: DurationMs = 500
    """How often policy and price files are looked at for changes."""
    default_output_tokens: Literal["model"] | Annotated[int, Field(ge=1, le=10_000_000)] = 4096
    """The output cap held for where a request has none, or the model's maximum if lower; `model`: that maximum."""
    max_body_bytes: int = Field(default=32 * 1024 * 1024, ge=1024, le=1024 * 1024 * 1024)
    """The longest LLM body, both ways, in bytes; above it 413, before anything is reserved."""
    max_inflight_bytes: int = Field(default=64 * 1024 * 1024, ge=1024 * 1024, le=64 * 1024 * 1024 * 1024)
    """LLM bodies that a worker reads at once, in bytes; above it 503 `too_busy`. Each takes five times its size."""
    deployments: Mapping[str, str] = Field(default_factory=dict)
    """Names that stand for a model (Azure deployments, Bedrock profiles), and which: `{team-gpt: gpt-4o}`."""
    reject_status: Mapping[str, RejectStatus] = Field(default_factory=dict)
    """The HTTP status of refusals, by dialect, `app:GLOB` or `user-agent:GLOB` (400, 402, 403, 429); see SDKs."""
    usage_log: str = ""
    """A path, `-` for standard output, `off`; empty: `DATA_DIR/usage.jsonl`."""
    usage_log_max_bytes: int = Field(default=2**30, ge=0)
    """The usage log is put aside at this size, as `usage-<time>.jsonl`; 0: never."""
    usage_log_every: DurationMs = 0
    """The usage log is put aside when such a period of UTC has ended (`24h`, `1h`); by default never."""
    usage_log_keep: int = Field(default=0, ge=0)
    """So many usage logs put aside are kept, the oldest are removed; 0: all are kept."""
    otlp_endpoint: str = ""
    """An OpenTelemetry collector (`http://HOST:4318`) that gets each usage line as an OTLP log record; empty: none."""
    prometheus: str = ""
    """For `up`: the URL of a Prometheus that scrapes it; the ledger is rebuilt from it after a loss."""
    policy_snapshot: str = ""
    """A file with a last known policy, for a new `serve` while Redis is away: the controller's ConfigMap, mounted."""
    failure_mode: Literal["open", "closed"] = "open"
    """What Envoy does with traffic while no worker answers at all."""
    lean: bool = False
    """Envoy shows the answers only that it cannot tell the cost of itself: see [lean](../how-to/lean.md)."""
    grpc_engine: Literal["auto", "ngh2", "h2", "grpcio"] = "auto"
    """What serves Envoy: `ngh2` (libnghttp2), `h2` (pure Python) or `grpcio`; `auto`: ngh2 where installed, else h2."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe log line that is written to standard error."""
    log_to: Literal["files", "output"] = "files"
    """Where workers and Envoy log: `DATA_DIR/log`, or the output of this process, as containers do."""
    forward_identity_headers: bool = False
    """Do providers see the headers that carry identity? They name teams and apps, so by default not."""
    max_unbudgeted_teams: int = Field(default=10_000, ge=0)
    """Team names of plain headers, without a budget, that a process keeps apart; more count as `unattributed`."""
    abortedAnswers: Literal["hold", "flowed"] = "hold"  # noqa: N815  as LLMBudget writes it
    """What a client that leaves is charged where more may be billed than was seen: its hold, or what flowed."""
    max_label_values: int = Field(default=2_000, ge=10)
    """At most so many (team, app, model) series a process: half for one team, a quarter for all without a budget."""

    @property
    def assumed_output_tokens(self) -> int | None:
        """The output cap assumed for a request without one; None: the model's maximum."""
        return None if self.default_output_tokens == "model" else self.default_output_tokens

    @field_validator("reject_status")
    @classmethod
    def _known_senders(cls, value: Mapping[str, int]) -> Mapping[str, int]:
        for key in value:
            if problem := reject_status.fault(key, (dialect.name for dialect in DIALECTS)):
                raise ValueError(problem)
        return value

    @field_validator("tags")
    @classmethod
    def _few(cls, value: Mapping[str, TagFrom]) -> Mapping[str, TagFrom]:
        if len(value) > TAGS_MAX:
            raise ValueError(f"{len(value)} tags are too many; name at most {TAGS_MAX}")
        return value

    @field_validator("upstreams")
    @classmethod
    def _apart(cls, value: tuple[Upstream, ...]) -> tuple[Upstream, ...]:
        names = [u.name for u in value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"two upstreams are named {name}")
        if sum(u.default for u in value) > 1:
            raise ValueError("only one upstream can be the default")
        return value

    @property
    def longest_message_timeout(self) -> int:
        """How long Envoy waits at most where a worker asks for more time, in milliseconds."""
        return max(self.message_timeout, LONGEST_MESSAGE_TIMEOUT_MS)

    def rotation(self) -> Rotation:
        """When the usage log is put aside."""
        return Rotation(self.usage_log_max_bytes, self.usage_log_every, self.usage_log_keep)

    def extractors(self, rings: Mapping[str, KeyRing] | None = None) -> tuple[Extractor, ...]:
        """Build the identity extractors in order. `rings`: the API keys of each file (none: nobody's)."""
        return tuple(
            s.extractor(rings or {}) if isinstance(s, ApiKeyIdentity) else s.extractor()
            for s in self.identity
        )

    def tag_sources(self) -> tuple[TagSource, ...]:
        """Where each tag stands, in order."""
        return tuple(t.source(name) for name, t in self.tags.items())

    def key_files(self) -> tuple[Path, ...]:
        """The files of API keys."""
        paths = (s.path() for s in self.identity if isinstance(s, ApiKeyIdentity))
        return tuple(p for p in paths if p is not None)

    def stripped_identity(self, *, verified: bool) -> frozenset[str]:
        """Headers that say who asks, and that no provider sees: those that are no source here, which only a forger
        or a stray setting sends; and those that are, unless they are forwarded. `verified`: whether their
        sender's trustworthiness is looked at later."""
        sources = [s for s in self.identity if isinstance(s, HeaderIdentity)]
        known = {n.lower() for s in sources for n in (s.team, s.app, s.user)}
        hidden = {n for e in self.extractors() for n in e.header_names} - known
        forwards = self.forward_identity_headers and (
            verified or not any(s.trusted_principals for s in sources)
        )
        return frozenset({*h.IDENTITY, *known} - (known if forwards else set())) | hidden


_DICT_KEYS = ("identity", "tags", "upstreams", "tls", "deployments", "reject_status")


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
            raise ConfigurationError([Fault(name, 0, "", f"cannot be read: {e}")]) from e
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
