"""Requests that the AWS SDK signed, through a real Envoy: the signature still holds at the provider."""

from __future__ import annotations

import json
from typing import Any

import boto3
import pytest
from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials
from botocore.exceptions import ClientError
from support.gateway import Gateway
from support.policy import budget, policy
from support.raw_upstream import JSON, RawUpstream, Request, fixed

RAW_POLICY = policy(
    budget(
        "pressed",
        100,
        defaultModel="amazon.nova-micro-v1:0",
        alertThresholds=[{"percent": 1, "action": "alert_and_downgrade"}],
    ),
    budget("signed", 100),
    budget("plain", 100),
    budget("broke", 0),
)
KEY, SECRET, REGION = "AKIDEXAMPLE", "secret", "us-east-1"
MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
CONVERSE = {
    "output": {"message": {"content": [{"text": "hi"}]}},
    "usage": {"inputTokens": 12, "outputTokens": 5, "totalTokens": 17},
}


def bedrock(gateway: Gateway, team: str, *, sign_team: bool = False) -> Any:
    """The SDK as anybody makes it; the team's header is added after it signed, or before."""
    client = boto3.client(
        "bedrock-runtime", region_name=REGION, endpoint_url=gateway.url,
        aws_access_key_id=KEY, aws_secret_access_key=SECRET, config=Config(retries={"mode": "standard"}),
    )  # fmt: skip

    def name_team(request: Any, **_: Any) -> None:
        request.headers["x-llm-team"] = team

    client.meta.events.register("before-sign" if sign_team else "before-send", name_team)
    return client


def signature(request: Request) -> tuple[str, str]:
    """(the signature that came, the one that this request should have)."""
    authorization = request.header("authorization") or ""
    names = authorization.partition("SignedHeaders=")[2].partition(",")[0].split(";")
    signed = {name: request.header(name) or "" for name in names if name != "host"}
    again = AWSRequest(
        request.method, f"http://{request.header('host')}{request.target}", headers=signed, data=request.body
    )
    again.context["timestamp"] = request.header("x-amz-date")
    signer = SigV4Auth(Credentials(KEY, SECRET), "bedrock", REGION)
    canonical = signer.canonical_request(again)
    expected = signer.signature(signer.string_to_sign(again, canonical), again)
    return authorization.rpartition("Signature=")[2], expected


@pytest.mark.parametrize("call", ["converse", "invoke"])
def test_the_provider_finds_the_signature_true(
    raw_gateway: Gateway, upstream: RawUpstream, call: str
) -> None:
    client = bedrock(raw_gateway, "signed")
    before = len(raw_gateway.usage("signed"))
    if call == "converse":
        upstream.reply = fixed(json.dumps(CONVERSE).encode(), JSON)
        client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    else:
        counts = ("x-amzn-bedrock-input-token-count: 12", "x-amzn-bedrock-output-token-count: 5")
        upstream.reply = fixed(b'{"content":[]}', JSON, *counts)
        body = {
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 9,
            "messages": [{"role": "user", "content": "hi"}],
        }
        client.invoke_model(modelId=MODEL, body=json.dumps(body))
    came, expected = signature(upstream.last)
    assert came == expected
    assert upstream.last.header("host") == raw_gateway.url.removeprefix("http://")
    line = raw_gateway.lines("signed", before + 1)[-1]
    assert (line["tokens"], line["outcome"]) == ({"input": 12, "output": 5}, "complete")


def test_a_signed_team_header_reaches_the_provider_since_the_signature_covers_it(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    upstream.reply = fixed(json.dumps(CONVERSE).encode(), JSON)
    client = bedrock(raw_gateway, "plain", sign_team=True)
    client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    came, expected = signature(upstream.last)
    assert came == expected


def test_a_downgrade_of_a_signed_request_is_refused_with_its_reason(
    raw_gateway: Gateway, upstream: RawUpstream
) -> None:
    dear = CONVERSE | {"usage": {"inputTokens": 10**7, "outputTokens": 5, "totalTokens": 10**7 + 5}}
    upstream.reply = fixed(json.dumps(dear).encode(), JSON)
    client = bedrock(raw_gateway, "pressed")
    client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    raw_gateway.spent("pressed", 1)
    answer = client.converse(modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    assert answer["ResponseMetadata"]["HTTPHeaders"]["x-spendgate-kept-because"] == "signed"
    assert MODEL.replace(":", "%3A") in upstream.last.target


def test_an_empty_budget_refuses_a_signed_request(raw_gateway: Gateway, upstream: RawUpstream) -> None:
    with pytest.raises(ClientError) as raised:
        bedrock(raw_gateway, "broke").converse(
            modelId=MODEL, messages=[{"role": "user", "content": [{"text": "hi"}]}]
        )
    assert raised.value.response["Error"]["Code"] == "ThrottlingException"
