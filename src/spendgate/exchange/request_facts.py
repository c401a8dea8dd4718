"""What a request asks for, as far as the gateway knows more than the dialect: whose model a deployment is, which
model an upstream has of its own, and whether the client signed the request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import Dialect, RequestFacts
from spendgate.dialects.request import readable
from spendgate.dialects.request.readable import Readable
from spendgate.dialects.request.texts import NO_MODEL
from spendgate.exchange.events import UNREADABLE
from spendgate.exchange.snapshot import Snapshot
from spendgate.values import dataclass

SIGV4 = "AWS4-"
"""What the `authorization` of a request that AWS' SDKs signed begins with."""
AWS = ("aws", "bedrock", "amazon-bedrock")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, and its body as that was read from."""

    facts: RequestFacts
    readable: Readable


def read_facts(
    dialect: Dialect, body: bytes, path: str, headers: Mapping[str, str], snapshot: Snapshot
) -> Asked:
    """Read a request. A deployment or profile that the settings know takes the name of its model, a request that
    names no model that of its upstream; a signed request is never rewritten. Raises RequestError."""
    settings = snapshot.settings
    facts, read = readable.read(dialect, body, path, headers, settings.max_body_bytes)
    if facts.model == NO_MODEL and (own := snapshot.default_model(dialect.name)):
        facts = replace(facts, model=own)
    model = settings.deployments.get(facts.model)
    if model is not None:
        facts = replace(facts, model=model, named_model=facts.model)
    if is_signed(dialect, headers, snapshot, facts.model):
        facts = replace(facts, body_fixed=True, model_fixed=True, usage_hidden=False)
    return Asked(facts, read)


def unread_facts(dialect: Dialect, body: bytes, headers: Mapping[str, str]) -> RequestFacts:
    """A bound for a request that cannot be read: a token a byte, of the dearest model there is. What is compressed
    may hold more than its bytes: then only a context window bounds it."""
    return RequestFacts(
        model=NO_MODEL,
        stream=False,
        texts=(),
        text_bytes=0,
        extra_input_tokens=len(body),
        unseen_input=bool(headers.get("content-encoding")),
        model_fixed=True,
        body_fixed=True,
        fixed_because=UNREADABLE,
        output_hidden=True,
        flags=(UNREADABLE,),
    )


def is_signed(
    dialect: Dialect, headers: Mapping[str, str], snapshot: Snapshot, model: str = NO_MODEL
) -> bool:
    """Did an AWS SDK sign body, path and host (SigV4)? The header alone says nothing: anybody can write it. It counts
    in Bedrock's own dialects, whose requests are never rewritten anyway, and where AWS answers."""
    if not headers.get("authorization", "").startswith(SIGV4):
        return False
    host = headers.get(":authority", "")
    return dialect.name.startswith("bedrock") or snapshot.provider(model, dialect.name, host) in AWS


def signed_names(dialect: Dialect, headers: Mapping[str, str], snapshot: Snapshot) -> frozenset[str]:
    """The headers that a signature covers: taking one off would break it."""
    if not is_signed(dialect, headers, snapshot):
        return frozenset()
    _, _, rest = headers["authorization"].partition("SignedHeaders=")
    return frozenset(rest.partition(",")[0].strip().lower().split(";"))
