"""Who asks: the first extractor that knows, and no absurd value."""

from __future__ import annotations

import hashlib
import re

import pytest

from spendgate.gateway.adapters.codec import proxy
from spendgate.identity import api_keys
from spendgate.identity.api_keys import KeyRing, PlainHash
from spendgate.identity.extractors import ApiKeyExtractor, ClaimExtractor, HeaderExtractor, SpiffeExtractor
from spendgate.identity.identity import UNATTRIBUTED, Caller, Identity, Proxy, Roster, identify, run_of
from spendgate.settings.config import Settings
from spendgate.settings.identity import SpiffeIdentity

HEADERS = (HeaderExtractor(),)


def test_plain_headers_name_team_app_and_user() -> None:
    caller = Caller({"x-llm-team": "ml", "x-llm-app": "chat", "x-llm-user": "ann"})
    assert identify(caller, HEADERS) == Identity("ml", "chat", "ann", "")


def test_who_names_nobody_is_unattributed() -> None:
    assert identify(Caller({}), HEADERS) == Identity(UNATTRIBUTED, UNATTRIBUTED)


@pytest.mark.parametrize("absurd", ["", "   ", "x" * 129, "a\x00b", "a\nb", "\u200b\u0007"])
def test_an_absurd_value_counts_as_absent(absurd: str) -> None:
    assert identify(Caller({"x-llm-team": absurd}), HEADERS).team == UNATTRIBUTED


def test_a_spiffe_principal_gives_namespace_and_service_account() -> None:
    caller = Caller({}, principal="spiffe://cluster.local/ns/ml-platform/sa/chatbot")
    assert identify(caller, (SpiffeExtractor(),)) == Identity("ml-platform", "chatbot")


def test_claims_are_found_by_name_and_by_path() -> None:
    caller = Caller({}, claims=({"org": {"team": "ml"}, "azp": "chat", "sub": "ann", "a.b": "dotted"},))
    assert identify(caller, (ClaimExtractor(team="org.team"),)) == Identity("ml", "chat", "ann")
    assert identify(caller, (ClaimExtractor(team="a.b"),)).team == "dotted"


def test_an_imported_key_is_known_by_its_hash_only() -> None:
    plain = PlainHash(hashlib.sha256(b"sk-1").hexdigest(), "ml", "chat")
    extractor = ApiKeyExtractor(KeyRing.of((), (plain,)))
    assert identify(Caller({"authorization": "Bearer sk-1"}), (extractor,)) == Identity("ml", "chat")
    assert identify(Caller({"authorization": "Bearer sk-2"}), (extractor,)).team == UNATTRIBUTED
    assert extractor.header_names == frozenset(), "the provider knows this key too"


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "api-key", "x-goog-api-key"])
def test_an_issued_key_is_found_wherever_an_sdk_puts_it_and_taken_off(header: str) -> None:
    text, key = api_keys.issue(bytes(range(56)), "ml", "chat", "ann", 1000)
    extractor = ApiKeyExtractor(KeyRing.of((key,)), issued=True)
    value = f"Bearer {text}" if header == "authorization" else text
    assert identify(Caller({header: value}, now_ms=2000), (extractor,)) == Identity("ml", "chat", "ann")
    assert header in extractor.header_names


def test_claims_of_two_tokens_are_never_mixed() -> None:
    extractor = (ClaimExtractor(),)
    claims = ({"sub": "mallory", "azp": "essential"}, {"team": "ml", "sub": "ann"})
    assert identify(Caller({}, claims=claims), extractor) == Identity("ml", UNATTRIBUTED, "ann")


def test_only_the_issuer_that_is_named_says_who_asks() -> None:
    extractor = (ClaimExtractor(issuer="https://good"),)
    forged = {"iss": "https://evil", "team": "victim"}
    assert identify(Caller({}, claims=(forged,)), extractor).team == UNATTRIBUTED
    good = {"iss": "https://good", "team": "ml"}
    assert identify(Caller({}, claims=(forged, good)), extractor).team == "ml"


SPIFFE = Settings.model_validate(
    {
        "identity": [
            {
                "kind": "spiffe",
                "trust_domains": ["cluster.local"],
                "pattern": "",
                "rules": [
                    {"namespace": "ml-*", "service_account": "batch", "team": "night", "app": "{namespace}"},
                    {"namespace": "ml-*", "team": "ml"},
                    {"principal": "/vm/(?P<team>[a-z]+)/(?P<host>[a-z0-9]+)$", "app": "vm-{host}"},
                ],
            }
        ]
    }
).extractors()


@pytest.mark.parametrize(
    ("principal", "team", "app"),
    [
        ("spiffe://cluster.local/ns/ml-eu/sa/batch", "night", "ml-eu"),
        ("spiffe://cluster.local/ns/ml-eu/sa/chat", "ml", "chat"),
        ("spiffe://cluster.local/vm/payments/h7", "payments", "vm-h7"),
        ("spiffe://cluster.local/ns/other/sa/chat", UNATTRIBUTED, UNATTRIBUTED),
        ("spiffe://evil.example/ns/ml-eu/sa/chat", UNATTRIBUTED, UNATTRIBUTED),
        ("https://cluster.local/ns/ml-eu/sa/chat", UNATTRIBUTED, UNATTRIBUTED),
        ("spiffe://cluster.local/x/ns/ml-eu/sa/chat", UNATTRIBUTED, UNATTRIBUTED),
        ("", UNATTRIBUTED, UNATTRIBUTED),
    ],
)
def test_rules_map_namespace_service_account_and_pattern(principal: str, team: str, app: str) -> None:
    found = identify(Caller({}, principal=principal), SPIFFE)
    assert (found.team, found.app) == (team, app)


def test_headers_are_believed_from_the_principals_that_may_set_them() -> None:
    asked = {"kind": "headers", "trusted_principals": ["spiffe://c/ns/edge/sa/*"]}
    extractors = Settings.model_validate({"identity": [asked]}).extractors()
    headers = {"x-llm-team": "victim"}
    edge = Caller(headers, principal="spiffe://c/ns/edge/sa/proxy")
    assert identify(edge, extractors).team == "victim"
    for forger in ("", "spiffe://c/ns/evil/sa/proxy", "spiffe://c/ns/edge/sa/proxy\n"):
        assert identify(Caller(headers, principal=forger), extractors).team == UNATTRIBUTED


def test_a_header_that_was_sent_twice_names_nobody() -> None:
    assert identify(Caller({"x-llm-team": "victim,mine"}), HEADERS).team == UNATTRIBUTED


def test_headers_that_are_no_source_are_always_stripped() -> None:
    for forwarded in (True, False):
        settings = Settings.model_validate(
            {"identity": [{"kind": "spiffe"}], "forward_identity_headers": forwarded}
        )
        assert {"x-llm-team", "x-llm-app", "x-llm-user"} <= settings.stripped_identity(verified=True)


def test_the_first_extractor_that_knows_wins_and_later_ones_fill_gaps() -> None:
    caller = Caller({"x-llm-team": "forged", "x-llm-app": "chat"}, principal="spiffe://c/ns/real/sa/")
    spiffe = SpiffeExtractor(re.compile(r"^spiffe://[^/]+/ns/(?P<team>[^/]+)"))
    assert identify(caller, (spiffe, *HEADERS)) == Identity("real", "chat")


def test_a_run_is_named_by_its_header_else_by_the_trace() -> None:
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    assert run_of({"x-llm-run": "nightly", "traceparent": trace}) == "nightly"
    assert run_of({"traceparent": trace}) == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert run_of({"traceparent": f"00-{'0' * 32}-00f067aa0ba902b7-01"}) == ""
    assert run_of({}) == ""


def test_callers_can_not_bring_teams_into_being_without_limit() -> None:
    roster = Roster(2)
    names = [roster.admit(Identity(t, "a"), False).team for t in ("x", "y", "z", "x")]
    assert names == ["x", "y", UNATTRIBUTED, "x"]
    assert roster.admit(Identity("budgeted", "a"), True).team == "budgeted"


def test_who_is_vouched_for_needs_no_place_among_strangers() -> None:
    roster = Roster(0)
    certified = identify(Caller({}, "spiffe://c/ns/ml/sa/chat"), (SpiffeExtractor(), *HEADERS))
    assert roster.admit(certified, False).team == "ml"
    claimed = identify(Caller({"x-llm-team": "ml"}), (SpiffeExtractor(), *HEADERS))
    assert roster.admit(claimed, False).team == UNATTRIBUTED


def test_a_name_that_was_not_heard_for_an_hour_gives_its_place_away() -> None:
    now = [0.0]
    roster = Roster(2, lambda: now[0])

    def admitted(team: str, at_s: float) -> str:
        now[0] = at_s
        return roster.admit(Identity(team, "a"), False).team

    assert [admitted("x", 0), admitted("y", 1), admitted("x", 2)] == ["x", "y", "x"]
    assert admitted("new", 3600) == UNATTRIBUTED
    assert admitted("new", 3601) == "new"  # in the place of y
    assert admitted("y", 3601.5) == UNATTRIBUTED
    assert admitted("x", 3601.5) == "x"


SIDECAR = ("x-spendgate-attached", "sidecar")
CHAT = "spiffe://c/ns/ml/sa/chat"
ELEMENT = (
    'By=spiffe://c/ns/gw/sa/sg;Hash=ab;Subject="CN=a,O=b;URI=spiffe://evil";URI=spiffe://c/ns/ml/sa/chat'
)


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ([SIDECAR, ("x-forwarded-client-cert", ELEMENT)], Proxy(CHAT, True)),
        ([SIDECAR, ("x-forwarded-client-cert", f"URI=spiffe://victim,{ELEMENT}")], Proxy(CHAT, True)),
        ([("x-forwarded-client-cert", ELEMENT)], Proxy(CHAT)),
        ([SIDECAR], Proxy("", True)),
        ([SIDECAR, ("x-forwarded-client-cert", f"{ELEMENT};URI=spiffe://two")], Proxy("", True)),
        ([SIDECAR, ("x-forwarded-client-cert", "Hash=ab")], Proxy("", True)),
    ],
)
def test_the_proxy_that_calls_is_known_by_what_the_envoy_before_us_wrote_last(
    metadata: list[tuple[str, str]], expected: Proxy
) -> None:
    assert proxy(metadata) == expected


def told(by: Proxy, *gateways: str) -> tuple[str, str, bool]:
    """What is believed of a call that claims the certificate and the token of `victim`."""
    patterns = SpiffeIdentity(kind="spiffe", gateways=gateways).extractor().gateways
    claims = ({"team": "victim"},)
    caller = Caller.told_by(by, patterns, {}, "spiffe://c/ns/victim/sa/app", claims, 0)
    return caller.principal, caller.sidecar, caller.claims == claims


def test_only_the_named_gateways_speak_for_others() -> None:
    victim, gateways = (
        "spiffe://c/ns/victim/sa/app",
        ("spiffe://c/ns/istio-system/sa/*", "spiffe://c/ns/e/sa/out"),
    )
    for name in ("spiffe://c/ns/istio-system/sa/egress", "spiffe://c/ns/e/sa/out"):
        assert told(Proxy(name), *gateways) == (victim, "", True)
        assert told(Proxy(name, True), *gateways) == (victim, "", True)
    for says in (True, False):
        assert told(Proxy(CHAT, says), *gateways) == ("", CHAT, False)
        assert told(Proxy("", says), *gateways) == ("", "", False)
    near = "spiffe://c/ns/istio-system/sa/egress/more"
    assert told(Proxy(near), *gateways) == ("", near, False)


def test_with_no_gateway_named_a_proxy_is_believed_and_a_sidecars_certificate_stands_behind_its_callers() -> (
    None
):
    victim = "spiffe://c/ns/victim/sa/app"
    assert told(Proxy(CHAT)) == (victim, "", True)
    assert told(Proxy(CHAT, True)) == (victim, CHAT, True)


def test_a_sidecars_identity_counts_only_where_it_is_asked_for_and_no_caller_has_one() -> None:
    caller = Caller({}, sidecar="spiffe://c/ns/ml/sa/chat")
    assert identify(caller, (SpiffeExtractor(),)).team == UNATTRIBUTED
    assert identify(caller, (SpiffeExtractor(sidecars=True),)) == Identity("ml", "chat")
    both = Caller({}, principal="spiffe://c/ns/real/sa/app", sidecar="spiffe://c/ns/ml/sa/chat")
    assert identify(both, (SpiffeExtractor(sidecars=True),)).team == "real"
