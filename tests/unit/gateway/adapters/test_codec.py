"""What Envoy's messages and the metadata of its calls tell."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.config.core.v3 import base_pb2
from envoy.extensions.filters.http.ext_proc.v3 import processing_mode_pb2
from envoy.service.ext_proc.v3 import external_processor_pb2 as pb
from hypothesis import given
from hypothesis import strategies as st
from support.grpc_peer import Pair

from spendgate.exchange import events as e
from spendgate.gateway.adapters import codec, wire_form
from spendgate.identity import headers as h
from spendgate.identity.identity import Proxy
from spendgate.rpc.call import Call

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


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                [
                    ":path",
                    "x-a",
                    "x-spendgate-attached",
                    "x-spendgate-place",
                    "x-spendgate-attempts",
                    "x-spendgate-lean",
                    CERTIFICATE[0],
                ]
            ),
            st.sampled_from(
                [
                    "sidecar",
                    "not-last",
                    "logged",
                    "json,sse",
                    CERTIFICATE[1],
                    f"{CERTIFICATE[1]},URI=spiffe://c/b",
                    "\xff",
                ]
            ),
        ),
        max_size=6,
    ),
    st.booleans(),
)
def test_what_a_call_of_ours_tells_is_what_all_of_its_metadata_tells(
    pairs: list[tuple[str, str]], principals: bool
) -> None:
    call = Call(Pair("h2").server, 1, [(k.encode(), v.encode("latin-1")) for k, v in pairs], False)
    picked = call.metadata_of(codec.TELLING)
    assert codec.proxy(picked, principals=principals) == codec.proxy(
        tuple(call.metadata), principals=principals
    )
    assert codec.logs_attempts(picked) == codec.logs_attempts(tuple(call.metadata))
    assert codec.logs_answers(picked) == codec.logs_answers(tuple(call.metadata))
    found = dict(call.metadata)
    told = codec.proxy(picked, principals=False)
    sidecar, place = found.get("x-spendgate-attached"), found.get("x-spendgate-place")
    assert told == Proxy("", sidecar == "sidecar", place != "not-last")


def test_the_principal_that_a_proxy_tells_is_of_this_call_though_another_told_one_before() -> None:
    other = ("x-forwarded-client-cert", "URI=spiffe://c/ns/other/sa/a")
    for pair, principal in (((CERTIFICATE), "ml"), (other, "other"), (CERTIFICATE, "ml")):
        assert codec.proxy((pair,)).principal == f"spiffe://c/ns/{principal}/sa/a"
        assert codec.proxy((pair,), principals=False).principal == ""


def test_no_provider_gets_what_steers_envoy_or_names_a_workload() -> None:
    names = (
        "x-envoy-retry-on", "x-envoy-peer-metadata", "x-spendgate-handover", "x-budget-utilization",
        "x-model-downgraded", "x-forwarded-client-cert", "x-envoyer", "x-forwarded-for", "authorization",
    )  # fmt: skip
    assert h.never_sent(names) == names[:6]
    assert h.never_sent(names, last=False) == (names[0], *names[2:6])


PAIRS = st.lists(
    st.tuples(
        st.text(st.characters(codec="utf-8"), max_size=300)
        | st.sampled_from(["x-budget-utilization", "x-a"]),
        st.text(max_size=20_000),
    ),
    max_size=5,
).map(tuple)
"""Headers, also such whose lengths take one, two and three bytes."""


def plainly_set(mutation: Any, pairs: tuple[tuple[str, str], ...]) -> None:
    for key, value in pairs:
        option = mutation.set_headers.add()
        option.header.key, option.header.raw_value = key, h.header_value(value).encode()
        option.append_action = base_pb2.HeaderValueOption.HeaderAppendAction.OVERWRITE_IF_EXISTS_OR_ADD


@given(PAIRS, st.sampled_from(list(e.BodyMode)))
def test_a_reply_to_an_answers_headers_is_what_protobuf_makes_of_it(
    pairs: tuple[tuple[str, str], ...], body: e.BodyMode
) -> None:
    mode = processing_mode_pb2.ProcessingMode
    shown = {"none": mode.NONE, "buffered": mode.BUFFERED, "streamed": mode.STREAMED}
    plain = pb.ProcessingResponse()
    plain.response_headers.SetInParent()
    if pairs:
        plainly_set(plain.response_headers.response.header_mutation, pairs)
    plain.mode_override.request_header_mode = mode.SEND
    plain.mode_override.response_header_mode = mode.SEND
    plain.mode_override.request_body_mode = mode.BUFFERED
    plain.mode_override.response_body_mode = shown.get(body.value, mode.FULL_DUPLEX_STREAMED)
    if body is not e.BodyMode.NONE:
        plain.mode_override.response_trailer_mode = mode.SEND
    assert codec.answer(e.PassResponse(body, pairs)) == plain.SerializeToString()


@given(PAIRS, st.none() | st.binary(max_size=300), st.booleans())
def test_a_reply_to_a_piece_of_an_answer_is_what_protobuf_makes_of_it(
    pairs: tuple[tuple[str, str], ...], replacement: bytes | None, buffered: bool
) -> None:
    plain = pb.ProcessingResponse()
    plain.response_body.SetInParent()
    if pairs and buffered:
        plainly_set(plain.response_body.response.header_mutation, pairs)
    if replacement:
        plain.response_body.response.body_mutation.body = replacement
    elif replacement is not None:
        plain.response_body.response.body_mutation.clear_body = True
    assert codec.piece(e.PassChunk(replacement, pairs), buffered) == plain.SerializeToString()


@pytest.mark.parametrize("number", [0, 1, 127, 128, 300, 16_383, 16_384, 2**31, 2**63])
def test_numbers_are_written_as_protobuf_writes_them(number: int) -> None:
    message = base_pb2.HeaderValue(raw_value=b"x" * number) if number < 2**20 else None
    read = sum((byte & 0x7F) << 7 * i for i, byte in enumerate(wire_form.varint(number)))
    assert read == number
    if message is not None and number:
        assert (
            wire_form.field(wire_form.tag(message, "raw_value"), b"x" * number) == message.SerializeToString()
        )


def test_a_refusal_is_told_from_what_passes() -> None:
    assert codec.is_refusal(codec.reject(e.Reject(429, (("a", "b"),), b"no", "monthly_budget_exceeded")))
    mode = processing_mode_pb2.ProcessingMode.BUFFERED
    others = [codec.PASS_ALL, codec.await_body((), mode), codec.forward(e.Forward(b"x", (("a", "b"),)), "t")]
    others += [codec.PASS_REQUEST_BODY, codec.PASS_REQUEST_TRAILERS, codec.PASS_RESPONSE_TRAILERS]
    others += [codec.ANSWER_NONE, codec.PASS_RESPONSE_BODY, codec.duplex_piece(b"", True), codec.more_time(1)]
    assert [reply for reply in others if codec.is_refusal(reply)] == []
    for reply in others:
        assert not pb.ProcessingResponse.FromString(reply).HasField("immediate_response")


def test_an_envoy_that_does_not_log_its_attempts_is_not_believed_to_log_answers() -> None:
    lean, logged = (codec.LEAN, "json,sse"), (codec.LOGS_ATTEMPTS, "logged")
    assert codec.logs_answers([lean, logged]) == {"json", "sse"}
    assert not codec.logs_answers([lean])
    assert not codec.logs_answers([logged]) - {""}


def test_a_ticket_that_ends_an_exchange_has_a_name_of_its_own_and_the_decision_beside_it() -> None:
    reply = codec.forward(e.Forward(), "t", (("x-spendgate-model", "a\nb"),))
    fields = (
        pb.ProcessingResponse.FromString(reply).dynamic_metadata.fields[codec.NAMESPACE].struct_value.fields
    )
    assert {key: value.string_value for key, value in fields.items()} == {
        codec.UNSEEN: "t",
        "x-spendgate-model": "a%0Ab",
    }
    held = pb.ProcessingResponse.FromString(codec.forward(e.Forward(), "t")).dynamic_metadata
    assert list(held.fields[codec.NAMESPACE].struct_value.fields) == [codec.TICKET]
