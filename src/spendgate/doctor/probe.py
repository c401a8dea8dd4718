"""Sends real requests of a team that has nothing through the real gateway, and demands the 429. Costs nothing: the
team's budget is 0 in every policy, and the model's name is no provider's."""

from __future__ import annotations

import json
import ssl
import time
from collections.abc import Iterator, Mapping
from dataclasses import field

import httpx

from spendgate.budget.policy import DOCTOR
from spendgate.doctor.finding import Finding, error, warning
from spendgate.identity import headers as h
from spendgate.identity.credential import doctors_word
from spendgate.values import dataclass

MODEL = "spendgate-doctor-probe"
LONG_BYTES = 1_500_000
"""Above Envoy's own limit of 1 MiB, below ours."""
REFUSED = "monthly_budget_exceeded"


@dataclass(frozen=True, slots=True)
class Target:
    """The gateway, and how the doctor says who it is."""

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    ca: str = ""
    certificate: tuple[str, str] | None = None
    timeout_s: float = 15.0
    secret: bytes = b""
    """What the gateways of its ledger share; with it the doctor needs no other credential."""


def client_of(target: Target) -> httpx.Client:
    """A client with the doctor's certificate. Raises OSError or ssl.SSLError where that cannot be read."""
    context: ssl.SSLContext | bool = True
    if target.ca or target.certificate:
        context = ssl.create_default_context(cafile=target.ca or None)
        if target.certificate is not None:
            context.load_cert_chain(*target.certificate)
    return httpx.Client(base_url=target.url, verify=context, trust_env=False, timeout=target.timeout_s)


def identity_headers(key: str = "") -> dict[str, str]:
    """How the doctor says who it is: by a key of its own, else by plain headers (of the default names)."""
    if key:
        return {"authorization": f"Bearer {key}"}
    return {"x-llm-team": DOCTOR, "x-llm-app": DOCTOR}


def _body(pad: int = 0, **more: object) -> bytes:
    message = {"role": "user", "content": "May I? " + "x" * pad}
    return json.dumps({"model": MODEL, "max_tokens": 1, "messages": [message], **more}).encode()


PROBES: dict[str, tuple[str, bytes]] = {
    "chat": ("/v1/chat/completions", _body()),
    "stream": ("/v1/chat/completions", _body(stream=True)),
    "messages": ("/v1/messages", _body()),
    "long body": ("/v1/chat/completions", _body(LONG_BYTES)),
}


def probe(target: Target) -> Iterator[Finding]:
    """Every finding; none where each request was refused as it must be."""
    try:
        with client_of(target) as client:
            for name, (path, body) in PROBES.items():
                found = _one(client, target, name, path, body)
                if found is not None:
                    yield found
                if found is not None and name == "chat":
                    return  # the others would say the same
    except (OSError, ssl.SSLError) as e:
        yield error("probe-certificate", target.url, f"the certificate cannot be used: {e}",
                    "give --ca, --cert and --cert-key that the listener believes")  # fmt: skip


def _one(client: httpx.Client, target: Target, name: str, path: str, body: bytes) -> Finding | None:
    where = f"{target.url}{path} ({name})"
    headers = {"content-type": "application/json", **target.headers}
    if target.secret:
        headers[h.DOCTOR] = doctors_word(target.secret, time.time_ns() // 1_000_000)
    try:
        answer = client.post(path, content=body, headers=headers)
    except httpx.HTTPError as e:
        return error("gateway-unreachable", where, f"no answer: {e}",
                     "start the gateway, check the address, the port and network policies")  # fmt: skip
    return judge(where, name, answer.status_code, dict(answer.headers), answer.text)


def judge(where: str, name: str, status: int, headers: Mapping[str, str], text: str) -> Finding | None:
    """What an answer to an over-budget request says. None: it was refused as it must be."""
    reason = headers.get(h.REASON, "")
    team = _team(text)
    if status == 429 and reason == REFUSED and team == DOCTOR:
        return None
    if status == 429 and reason:
        return warning(
            "doctor-unknown", where, f"refused ({reason}), but as team {team or '?'} and not as the doctor's",
            f"let the doctor be known: --redis of the gateway's ledger, or a key of team {DOCTOR} (--key)",
        )  # fmt: skip
    if status in (401, 403):
        return error("doctor-refused", where, f"{status}: the gateway does not know the doctor",
                     f"give --key of `spendgate keys issue --team {DOCTOR}`, --header, or --cert")  # fmt: skip
    if status == 413:
        return error("body-limit", where, "a body of 1.5 MB gets 413 before it is looked at",
                     "set request_body_buffer_limit: 33554432 on the virtual host, or with Envoy 1.36, which does "
                     "not keep to it, per_connection_buffer_limit_bytes on the listener")  # fmt: skip
    if status in (500, 502, 503, 504) and not reason:
        return error("gateway-failing", where, f"{status} from Envoy itself: {text[:120]!r}",
                     "is `spendgate serve` up and its cluster healthy? See Envoy's log and --envoy-admin")  # fmt: skip
    if reason or h.MODEL in headers:
        return error(
            "doctor-passed", where, f"{status} ({reason or 'no reason'}): decided, but for another team",
            f"let the doctor be known: --redis of the gateway's ledger, or as team {DOCTOR} by --key or --header",
        )  # fmt: skip
    return error(
        "not-enforced", where, f"{status} without a word of spendgate: no budget is enforced on this way",
        "insert the filter where this address is served: `spendgate render bootstrap`, `envoyfilter` or "
        "`extension-policy`",
    )  # fmt: skip


def _team(text: str) -> str:
    try:
        details = json.loads(text)["error"]["details"]
        return str(details["team"])
    except (ValueError, KeyError, TypeError):
        return ""
