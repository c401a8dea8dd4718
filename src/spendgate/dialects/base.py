"""What every dialect offers: one provider API's wire format, pure.

A dialect reads request facts and usage, rewrites the request and shapes errors. It never does I/O.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Protocol

from spendgate.dialects.wire.spelling import Spelling
from spendgate.dialects.wire.traits import StreamTerminator, UsageFields
from spendgate.usage import Usage
from spendgate.values import dataclass

NO_HEADERS: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a request asks for, as far as money is concerned.

    `texts` are the strings that the provider will tokenise (message contents, system prompt, tool schemas as
    JSON, …). `extra_input_tokens` bounds what is not text (images, audio, files) and hidden preambles.
    `output_cap` is the client's own limit in tokens, None where it set none. `choices` multiplies the output
    (`n`). `needs` names capabilities ("tools", "images", "audio", "json_schema").
    """

    model: str
    stream: bool
    texts: tuple[str, ...]
    text_bytes: int
    extra_input_tokens: int = 0
    output_cap: int | None = None
    choices: int = 1
    needs: frozenset[str] = frozenset()
    user: str = ""
    fee_kinds: Usage = field(default_factory=dict)
    """Per-call fees that the request may cause at most, e.g. {"searches": 5}."""
    extra_output_tokens: int = 0
    """Output billed beyond the cap (tokens of a rejected prediction)."""
    output_cap_min: int = 0
    """An output cap below this would make the provider refuse (Anthropic: the thinking budget)."""
    cache_writes: frozenset[str] = frozenset()
    """The kinds in which the request may write to the provider's prompt cache, dearer than plain input."""
    usage_hidden: bool = False
    """True where a stream's usage must be asked for on the client's behalf, and taken out again."""
    tool_input_tokens: int = 0
    """Input that the provider's own tools (web search) may add to the bill at most; part of an estimate,
    never of what an aborted request is billed."""
    unseen_windows: int = 1
    """Of how many requests the input is unseen, where `unseen_input` is (a batch has several)."""
    unseen_results: bool = False
    """Tools that the provider runs bring in what is of no documented size: it grows from turn to turn."""
    turns: int = 1
    """How often the model may read the request at most: once, and after each call of the provider's own tools."""
    fee_nanousd: int = 0
    """Fees that stand in no price list (a container, a document that is read for the model), at most."""
    model_fixed: bool = False
    """The model cannot be changed: the path names it in a way that stands for more (Azure deployments), or is
    signed."""
    dear_kinds: frozenset[str] = frozenset()
    """Token kinds besides plain text that the request can cause (`input_audio`, `input_image`,
    `output_audio`), for an estimate at the dearest rate."""
    unseen_input: bool = False
    """The request refers to input that only the provider has (a stored conversation, prompt, cache or file
    of unknown size): only the model's context window bounds it."""
    unseen_shown: bool = False
    """The answer shows what of the input is unseen in the request (Azure's data sources: its context)."""
    body_fixed: bool = False
    """The client signed the body (AWS SigV4): nothing of it can be rewritten."""
    fixed_because: str = "signed"
    """Why the body is fixed: `signed` by the client (SigV4), or `entry`: asked by a filter that can change nothing."""
    service_tier: str = ""
    """The tier that the client asked for (`flex`, `priority`, …); `` where it asked for none."""
    known_usage: Usage = field(default_factory=dict)
    """The usage, where the request alone tells it (characters to be spoken, images to be made): what a
    successful answer that tells none is billed by."""
    free: bool = False
    """The call costs nothing: it passes without a reservation."""
    named_model: str = ""
    """What the request itself names, where that is only a name for `model` (a deployment, a profile)."""
    form_type: str = ""
    """The content type of a request that is a form, with its boundary; `` where it is JSON."""
    other_models: tuple[str, ...] = ()
    """Further models that the request may be billed for (a batch of several): the dearest bounds it."""
    fallbacks: tuple[str, ...] = ()
    """Models that the request itself lets answer in the asked one's stead; they are taken out where another model is
    written."""
    fallbacks_add: bool = False
    """An attempt may be billed beside the one that answers: the estimate is the sum, not the dearest."""
    routed: bool = False
    """A router chooses who serves the model: the dearest provider bounds it."""
    batch: bool = False
    """The API itself is priced as a batch; a tier that a client asks for never lowers an estimate."""
    residency: str = ""
    """The place that the client bound the processing to (Anthropic's `inference_geo`); `` for none."""
    flags: tuple[str, ...] = ()
    """What was odd in reading it; the usage log's line has it."""
    tools: tuple[str, ...] = ()
    """The tools that it calls, each as often (MCP)."""
    answers: int = 0
    """How many answers it may wait for: one for each call of a tool and whatever else it asks (MCP), or for each of
    several models that are asked at once; 0 where it is one."""
    output_hidden: bool | None = None
    """True: it asks for output that need not be seen to be billed (reasoning, tools that the provider runs), so that
    a client that leaves early does not show what was spent. False: it switches reasoning off. None: neither; then
    it is as the model is."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Usage read from an answer. `problem` is None when it can be charged, else the `unmetered` reason:
    `no_usage`, `zero_usage` (all counts are zero beside a text), `bad_usage`, `not_json`, `truncated`, `encoding`,
    `deferred` (it was taken on, to be answered later)."""

    usage: Usage
    model: str = ""
    problem: str | None = None
    mismatch: bool = False
    """The provider's own total disagreed with its parts; the larger reading is charged."""
    parts: tuple[tuple[str, Usage], ...] = ()
    """(model, usage) of each model that the provider billed, where it billed several; they add up to
    `usage`."""
    service_tier: str = ""
    """The tier that the provider says it served."""
    residency: str = ""
    """The place in which the provider says it processed."""
    told_nanousd: int | None = None
    """What the provider itself says that it charges for this answer, where it does: that is the bill."""
    text: str = ""
    """What the model made, as far as a whole answer shows it: where the usage is missing or all zero."""
    flags: tuple[str, ...] = ()
    """What is odd about the usage; the usage log's line has it."""
    error: bool = False
    """The answer is an error of the provider's, with a status of success, and nothing was made."""
    refused: int = 0
    """How many of several calls were answered by an error that says that they were not made (MCP)."""


class StreamMeter(Protocol):
    """Meters one streamed answer, fed with byte pieces of any size."""

    def feed(self, piece: bytes, end: bool) -> bytes | None:
        """Take a piece. Returns None where it may pass unchanged, else the bytes to send instead
        (b"" to send nothing now)."""
        ...

    @property
    def complete(self) -> bool:
        """The answer's own end, or its last usage, was seen."""
        ...

    @property
    def failed(self) -> bool:
        """An error event was seen in the stream."""
        ...

    def result(self) -> Reading:
        """The final usage reported; problem `no_usage` if none came."""
        ...

    @property
    def hidden(self) -> bool:
        """Does what was seen so far show that more may be billed than flowed: reasoning went by, or the reason
        for which the answer finished, and its usage has yet to come?"""
        ...

    def partial(self) -> tuple[Usage, int]:
        """What is known of a stream that ended early: usage reported so far ({} if none), and the tokens of
        output streamed so far, counted exactly (to bill an abort; 0 where nothing flowed)."""
        ...


@dataclass(frozen=True, slots=True)
class Rejection:
    """A refusal, before a dialect gave it its shape."""

    status: int
    code: str
    message: str
    details: dict[str, object]
    type: str = "budget_exceeded"
    request: bytes = b""
    """The body of what is refused, as far as it was read: some errors name it."""


class Dialect(Protocol):
    """One provider API. Stateless: one instance serves all exchanges."""

    name: str
    title: str
    """What the API is, for a reader."""
    provider: str
    """Whose API it is, as the price list calls them."""
    copied: bool
    """Do others speak it too? Then it does not tell who is asked."""
    operation: str
    """What is asked for, as OpenTelemetry names it (`gen_ai.operation.name`)."""
    paths: tuple[str, ...]
    """Paths of its requests, for a reader; the first is the one to send a request to that names no path."""
    path_marks: tuple[str, ...] = ()
    """What the paths of its provider's other APIs have in common, in small letters."""
    owns_path: bool
    """Is every call of this path this API's, so that one in another form is suspect?"""
    numbers_retries: bool
    """Do its provider's SDKs say that they asked before?"""
    usage_fields: UsageFields
    """Where its answers tell what was used."""
    usage_events: Mapping[str, str]
    """Of a stream: below which member the same fields stand (`` for none), and in which events."""
    logged: bool
    """Do the fields outside of lists hold the usage whole, but for searches and parts of several models? Then Envoy's
    own filters can read it."""
    usage_closes: bool
    """Does a stream tell the last of its usage once, and nothing of it is made after that?"""
    not_metered: tuple[str, ...]
    """What its provider may bill and no answer tells."""
    path_regex: str
    """What the path (without query, percent-decoded) of every request of this API ends with: a regular
    expression of RE2, so that Envoy can route by it, and short, since Envoy bounds a program's size."""

    spelling: Spelling
    """The names that its requests know, and how generously providers take them."""
    takes_forms: bool
    """May a request be a form?"""

    def matches(self, method: str, path: str, content_type: str) -> bool:
        """Is this request (path without query) one of this API that costs money?"""
        ...

    def streams(self, media_type: str, asked: bool) -> bool:
        """Is an answer of this media type (lower case, without parameters) to be metered as a stream?
        `asked`: the request asked for one."""
        ...

    def read_request(self, body: bytes, path: str, headers: Mapping[str, str] = NO_HEADERS) -> RequestFacts:
        """Read the body. `headers`: the request's, by lower-case name. Raises RequestError where it cannot
        be read."""
        ...

    def rewrite(
        self, body: bytes, facts: RequestFacts, *, model: str | None, output_cap: int | None, ask_usage: bool
    ) -> bytes:
        """Change the model, write an output cap, ask for usage; every other byte stays."""
        ...

    def rewrite_path(self, target: str, model: str) -> str | None:
        """The request's target (raw path and query) with another model in it; None where the path names
        none, and the body does."""
        ...

    def may_be_large(self, facts: RequestFacts) -> bool:
        """May the answer be larger than what a proxy buffers (pictures, sound, many embeddings)?"""
        ...

    def reads(self, media_type: str) -> bool:
        """Does a whole answer of this media type (lower case, "" for none) tell its usage?"""
        ...

    def read_answer(self, body: bytes, headers: Mapping[str, str] = NO_HEADERS) -> Reading:
        """Read the usage of a whole answer (already decoded). `headers`: the answer's, by lower-case name."""
        ...

    def of_model(self, reading: Reading, model: str) -> Reading:
        """A reading of an answer of this model, where models of one API count in different ways."""
        ...

    def served_tier(self, headers: Mapping[str, str]) -> str:
        """The service tier that an answer's headers tell, "" where they do not."""
        ...

    def stream_terminator(self) -> StreamTerminator | None:
        """What ends a stream early; None where it is not known how."""
        ...

    def stream_meter(self, *, hide_usage: bool, count: Callable[[str], int]) -> StreamMeter:
        """Start metering a streamed answer. `count` counts the tokens of one streamed piece of text (every
        piece that a provider streams is one or more whole tokens, so the sum over pieces is what it made)."""
        ...

    def refusal_status(self, rejection: Rejection) -> int:
        """The HTTP status that its clients take for an error of this API."""
        ...

    def error_body(self, rejection: Rejection) -> bytes:
        """Shape a refusal as this API's own error, so that its SDK raises its own exception."""
        ...

    def error_headers(self, rejection: Rejection) -> tuple[tuple[str, str], ...]:
        """The headers that this API's SDK needs beside the body to know a refusal."""
        ...
