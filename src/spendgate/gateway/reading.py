"""What a request asks for, as far as the gateway knows more than the dialect: whose model a deployment is, and
whether the client signed the request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from spendgate.dialects.base import Dialect, RequestFacts
from spendgate.gateway.config import Settings

SIGV4 = "AWS4-"
"""What the `authorization` of a request that AWS' SDKs signed begins with."""


def read_facts(
    dialect: Dialect, body: bytes, path: str, headers: Mapping[str, str], settings: Settings
) -> RequestFacts:
    """Read a request. A deployment or profile that the settings know takes the name of its model; a signed
    request is never rewritten. Raises RequestError."""
    facts = dialect.read_request(body, path, headers)
    model = settings.deployments.get(facts.model)
    if model is not None:
        facts = replace(facts, model=model, named_model=facts.model)
    if is_signed(headers):
        facts = replace(facts, body_fixed=True, model_fixed=True, usage_hidden=False)
    return facts


def is_signed(headers: Mapping[str, str]) -> bool:
    """Did an AWS SDK sign body, path and host (SigV4)?"""
    return headers.get("authorization", "").startswith(SIGV4)


def signed_names(headers: Mapping[str, str]) -> frozenset[str]:
    """The headers that a signature covers: taking one off would break it."""
    if not is_signed(headers):
        return frozenset()
    _, _, rest = headers["authorization"].partition("SignedHeaders=")
    return frozenset(rest.partition(",")[0].strip().lower().split(";"))
