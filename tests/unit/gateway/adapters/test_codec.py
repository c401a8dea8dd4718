"""What Envoy's messages and the metadata of its calls tell."""

from __future__ import annotations

import pytest
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb

from spendgate.gateway.adapters import codec
from spendgate.identity import headers as h
from spendgate.identity.identity import Proxy

CERTIFICATE = ("x-forwarded-client-cert", "URI=spiffe://c/ns/ml/sa/a")


@pytest.mark.parametrize("name", ["envoy.filters.http.ext_proc", "spendgate.ext_proc"])
def test_attributes_are_found_under_the_filters_generic_and_its_own_name(name: str) -> None:
    message = pb.ProcessingRequest()
    message.attributes[name].fields["request.time"].string_value = "now"
    assert codec.attribute_text(codec.attributes(message), "request.time") == "now"


def test_another_filters_attributes_are_none_of_ours() -> None:
    message = pb.ProcessingRequest()
    message.attributes["somebody.else"].fields["request.time"].string_value = "now"
    assert codec.attributes(message) == {}


@pytest.mark.parametrize(
    ("metadata", "proxy"),
    [
        ((), Proxy()),
        ((("x-spendgate-attached", "sidecar"),), Proxy("", True, True)),
        ((("x-spendgate-attached", "sidecar"), ("x-spendgate-place", "not-last")), Proxy("", True, False)),
        ((("x-spendgate-place", "first"),), Proxy()),
        ((CERTIFICATE,), Proxy("spiffe://c/ns/ml/sa/a")),
    ],
)
def test_a_proxy_tells_its_place(metadata: tuple[tuple[str, str], ...], proxy: Proxy) -> None:
    assert codec.proxy(metadata) == proxy
    told = codec.proxy(metadata, principals=False)
    assert (told.principal, told.sidecar, told.last) == ("", proxy.sidecar, proxy.last)


def test_no_provider_gets_what_steers_envoy_or_names_a_workload() -> None:
    names = (
        "x-envoy-retry-on", "x-envoy-peer-metadata", "x-spendgate-handover", "x-budget-utilization",
        "x-model-downgraded", "x-forwarded-client-cert", "x-envoyer", "x-forwarded-for", "authorization",
    )  # fmt: skip
    assert h.never_sent(names) == names[:6]
    assert h.never_sent(names, last=False) == (names[0], *names[2:6])
