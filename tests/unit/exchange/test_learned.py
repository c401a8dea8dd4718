"""What answers teach: bounded, aged, shared, and never cheaper than what was seen."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.exchange.driver import NOW_MS, Drive, chat, chat_answer, snapshot_of

from spendgate.exchange import events as e
from spendgate.exchange.exchange import Exchange
from spendgate.exchange.learned import (
    AGAIN_MS,
    MODELS_MAX,
    PLACES_MAX,
    REFUSED_MS,
    SERVED_MS,
    Learned,
    Lesson,
    Place,
)
from spendgate.exchange.snapshot import Snapshot
from spendgate.gateway.process.learned_file import SIZE_MAX, LearnedFile
from spendgate.records.outcome import Outcome

SPEC = "{team: ml, monthlyBudgetUSD: 1000}"
HERE = Place("u", "azure", "x.example", "house-chat")


def azure(**upstream: object) -> Snapshot:
    return snapshot_of(
        SPEC, upstreams=[{"name": "u", "url": "http://127.0.0.1:9", "provider": "azure", **upstream}]
    )


def drive(snap: Snapshot, learned: Learned) -> Drive:
    d = Drive(snap)
    d.exchange = Exchange("x1", snap, learned=learned)
    return d


def held(snap: Snapshot, learned: Learned, answers: str = "gpt-4o-mini-2024-07-18", **asks: object) -> int:
    """What one request holds, which this model then answers."""
    d = drive(snap, learned)
    d.send(chat(model="house-chat", **asks))
    d.answer()
    d.piece(chat_answer(model=answers), end=True)
    return d.ending.record.estimate_nanousd


# -- holds ----------------------------------------------------------------------------------------------------


def test_an_unlisted_name_is_held_as_the_dearest_model_that_answered_under_it() -> None:
    snap, learned = azure(), Learned()
    unknown = held(snap, learned)
    cheap = held(snap, learned, "gpt-4o-2024-08-06")
    dear = held(snap, learned)
    assert cheap < dear < unknown
    d = drive(snap, learned)
    d.send(chat(model="gpt-4o", max_tokens=100))
    listed = d.exchange.decided.held_nanousd
    assert held(snap, learned, max_tokens=100) == listed


def test_a_name_that_answers_with_what_has_no_price_is_held_as_unknown_again() -> None:
    snap, learned = azure(), Learned()
    unknown = held(snap, learned)
    assert held(snap, learned, "nobody-knows-this") < unknown
    assert held(snap, learned) == unknown


def test_the_usage_line_says_that_a_hold_was_learnt() -> None:
    snap, learned = azure(), Learned()
    held(snap, learned)
    d = drive(snap, learned)
    d.send(chat(model="house-chat"))
    d.answer()
    d.piece(chat_answer(model="gpt-4o-mini"), end=True)
    assert "learned_model" in d.ending.record.flags


def test_a_team_that_takes_no_unpriced_model_takes_none_by_what_was_learnt() -> None:
    learned = Learned()
    held(azure(), learned)
    strict = snapshot_of(
        "{team: ml, monthlyBudgetUSD: 1000, unpricedModels: reject}",
        upstreams=[{"name": "u", "url": "http://127.0.0.1:9", "provider": "azure"}],
    )
    assert isinstance(drive(strict, learned).send(chat(model="house-chat")), e.Reject)


def test_what_was_learnt_of_one_upstream_says_nothing_of_another() -> None:
    learned = Learned()
    unknown = held(azure(), learned)
    assert held(azure(name="v"), learned) == unknown
    assert held(azure(authority="other.example"), learned) == unknown


def test_a_priced_model_teaches_nothing() -> None:
    learned = Learned()
    d = drive(azure(), learned)
    d.send(chat(model="gpt-4o"))
    d.answer()
    d.piece(chat_answer(model="gpt-4o-mini"), end=True)
    assert learned.all() == []


# -- what is remembered ---------------------------------------------------------------------------------------


def test_a_model_counts_for_an_hour_after_it_answered_last() -> None:
    learned = Learned()
    learned.answered(HERE, "a", 0)
    learned.answered(HERE, "b", 1000)
    assert learned.serves(HERE, SERVED_MS) == ("a", "b")
    assert learned.serves(HERE, SERVED_MS + 1) == ("b",)
    assert learned.serves(HERE, SERVED_MS + 1001) == ()


def test_a_name_that_answers_with_many_models_is_a_router_and_teaches_nothing() -> None:
    learned = Learned()
    for i in range(MODELS_MAX):
        learned.answered(HERE, f"m{i}", i)
    assert len(learned.serves(HERE, 100)) == MODELS_MAX
    learned.answered(HERE, "one-more", 100)
    assert learned.serves(HERE, 100) == ()


def test_it_is_told_to_others_once_and_again_when_it_is_old() -> None:
    learned = Learned()
    for at_ms in (0, 1, AGAIN_MS, AGAIN_MS + 1):
        learned.answered(HERE, "a", at_ms)
    assert [x.at_ms for x in learned.fresh] == [0]
    learned.answered(HERE, "a", 3 * AGAIN_MS)
    assert [x.at_ms for x in learned.fresh] == [0, 3 * AGAIN_MS]


@given(st.lists(st.tuples(st.integers(0, 2000), st.sampled_from(["", "a", "b"])), max_size=40))
def test_it_is_bounded(seen: list[tuple[int, str]]) -> None:
    learned = Learned()
    for i in range(PLACES_MAX):
        learned.take(Lesson(Place("", "", "", f"n{i}"), "a", 0))
    for i, model in seen:
        learned.take(Lesson(Place("", "", "", f"n{i}"), model, 1))
    assert len(learned._served) <= PLACES_MAX
    assert len(learned._refused) <= PLACES_MAX
    learned.answered(Place("", "", "", "x" * 10_000), "a", 1)
    assert all(len(x.place.name) < 300 for x in learned.all())


def test_a_refusal_is_remembered_for_a_day() -> None:
    learned = Learned()
    learned.refused(HERE, 5)
    assert learned.refuses(HERE, 5 + REFUSED_MS)
    assert not learned.refuses(HERE, 6 + REFUSED_MS)
    assert not learned.refuses(HERE._replace(name="other"), 5)


# -- shared ---------------------------------------------------------------------------------------------------


def test_workers_hear_from_each_other(tmp_path: Path) -> None:
    file = tmp_path / "learned.jsonl"
    mine, theirs, later = Learned(), Learned(), Learned()
    one, other = LearnedFile(file, mine), LearnedFile(file, theirs)
    mine.answered(HERE, "a", NOW_MS)
    theirs.refused(HERE, NOW_MS)
    for each in (one, other, one):
        each.share()
    LearnedFile(file, later).share()
    for learned in (mine, theirs, later):
        assert learned.serves(HERE, NOW_MS) == ("a",)
        assert learned.refuses(HERE, NOW_MS)
    size = file.stat().st_size
    one.share()
    assert file.stat().st_size == size  # what was heard is not told again


def test_a_broken_line_teaches_nothing(tmp_path: Path) -> None:
    file = tmp_path / "learned.jsonl"
    file.write_bytes(
        b'{}\n[1,2]\n["u","azure","x.example",5,"a",1]\n\xff\n["u","azure","x.example","house-chat","a",1]\n['
    )
    learned = Learned()
    LearnedFile(file, learned).share()
    assert learned.all() == [Lesson(HERE, "a", 1)]


def test_a_file_that_has_grown_is_written_anew_and_read_from_its_beginning(tmp_path: Path) -> None:
    file = tmp_path / "learned.jsonl"
    mine, theirs = Learned(), Learned()
    one, other = LearnedFile(file, mine), LearnedFile(file, theirs)
    mine.answered(HERE, "a", NOW_MS)
    one.share()
    other.share()
    with file.open("ab") as out:
        out.write(b"[]\n" * (SIZE_MAX // 3))
    mine.refused(HERE, NOW_MS)
    one.share()
    assert file.stat().st_size < 1000
    other.share()
    assert theirs.refuses(HERE, NOW_MS)


# -- who is asked for usage -----------------------------------------------------------------------------------

REFUSED = b'{"error":{"message":"Unrecognized request argument supplied: stream_options"}}'


def asked_for_usage(d: Drive, path: str = "/v1/chat/completions", **more: object) -> bool:
    action = d.send(chat(stream=True, **more), path=path)
    assert isinstance(action, e.Forward)
    return action.body is not None and b"include_usage" in action.body


@pytest.mark.parametrize("status", [400, 422])
@pytest.mark.parametrize("cut", [1, 30, 1000])
def test_a_refusal_that_names_the_field_is_learnt_and_the_next_request_goes_without(
    status: int, cut: int
) -> None:
    snap, learned = snapshot_of(SPEC), Learned()
    d = drive(snap, learned)
    assert asked_for_usage(d)
    answer = d.answer(status)
    assert answer == e.PassResponse(e.BodyMode.STREAMED)
    for i in range(0, len(REFUSED), cut):
        assert d.piece(REFUSED[i : i + cut]) == e.PassChunk()
    assert d.piece(b"", end=True) == e.PassChunk()
    assert (d.ending.record.outcome, d.ending.record.cost_nanousd) == (Outcome.FAILED, 0)
    assert not asked_for_usage(drive(snap, learned))
    assert asked_for_usage(drive(snap, learned), model="gpt-4o-mini")


@pytest.mark.parametrize(
    ("status", "body"), [(400, b'{"error":{"message":"too long"}}'), (429, REFUSED), (500, REFUSED)]
)
def test_other_errors_teach_nothing(status: int, body: bytes) -> None:
    snap, learned = snapshot_of(SPEC), Learned()
    d = drive(snap, learned)
    assert asked_for_usage(d)
    d.answer(status)
    d.piece(body, end=True)
    assert asked_for_usage(drive(snap, learned))


def test_a_client_that_asked_itself_is_refused_by_itself() -> None:
    snap, learned = snapshot_of(SPEC), Learned()
    d = drive(snap, learned)
    d.send(chat(stream=True, stream_options={"include_usage": True}))
    assert d.answer(400) == e.PassResponse(e.BodyMode.NONE)
    assert asked_for_usage(drive(snap, learned))


DEPLOYED = "/openai/deployments/gpt-4o/chat/completions?api-version="


@pytest.mark.parametrize(
    ("upstream", "path", "more", "asked"),
    [
        ({}, DEPLOYED + "2024-06-01", {}, False),
        ({}, DEPLOYED + "2023-12-01-preview", {}, False),
        ({}, DEPLOYED + "2024-09-01-preview", {}, True),
        ({}, DEPLOYED + "2025-04-01-preview", {}, True),
        ({}, DEPLOYED + "2025-04-01-preview", {"data_sources": [{"type": "azure_search"}]}, False),
        ({}, "/openai/v1/chat/completions", {}, True),
        ({}, "/openai/v1/chat/completions", {"data_sources": [{"type": "azure_search"}]}, False),
        ({"provider": "openai"}, "/v1/chat/completions?api-version=2024-06-01", {}, True),
        ({"stream_usage": "never"}, "/openai/v1/chat/completions", {}, False),
        ({"authority": "m-abc.eastus2.models.ai.azure.com"}, "/v1/chat/completions", {}, False),
        ({"authority": "m-abc.eastus2.inference.ai.azure.com:443"}, "/v1/chat/completions", {}, False),
    ],
)  # fmt: skip
def test_who_is_known_to_refuse_is_not_asked(
    upstream: dict[str, object], path: str, more: dict[str, object], asked: bool
) -> None:
    assert asked_for_usage(drive(azure(**upstream), Learned()), path, **more) is asked
