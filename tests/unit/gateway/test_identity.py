"""Who asks: the first extractor that knows, and no absurd value."""

from __future__ import annotations

import hashlib
import re

import pytest

from spendgate.gateway.identity import (
    UNATTRIBUTED,
    ApiKeyExtractor,
    Caller,
    ClaimExtractor,
    HeaderExtractor,
    Identity,
    Roster,
    SpiffeExtractor,
    identify,
    run_of,
)

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
    caller = Caller({}, claims={"org": {"team": "ml"}, "azp": "chat", "sub": "ann", "a.b": "dotted"})
    assert identify(caller, (ClaimExtractor(team="org.team"),)) == Identity("ml", "chat", "ann")
    assert identify(caller, (ClaimExtractor(team="a.b"),)).team == "dotted"


def test_an_api_key_is_known_by_its_hash_only() -> None:
    keys = {hashlib.sha256(b"sk-1").hexdigest(): ("ml", "chat")}
    extractor = ApiKeyExtractor(keys)
    assert identify(Caller({"authorization": "Bearer sk-1"}), (extractor,)) == Identity("ml", "chat")
    assert identify(Caller({"authorization": "Bearer sk-2"}), (extractor,)).team == UNATTRIBUTED


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
