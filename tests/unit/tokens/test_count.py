import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from spendgate.tokens import count as module
from spendgate.tokens.count import (
    MANY,
    PIECE_CHARS,
    Counted,
    count,
    cut,
    measure,
    pieces,
    reaches,
    sample,
    sample_many,
)
from spendgate.tokens.encoder import Encoder, byte_encoder, encoder

texts = st.lists(st.text(max_size=200), max_size=8)


def size(parts: list[str]) -> int:
    return sum(len(p.encode("utf-8", "replace")) for p in parts)


def test_counts_are_those_of_o200k() -> None:
    # "hello world" is two tokens; the emoji and é are known ids of o200k_base.
    assert encoder().name == "rs-bpe"
    assert count("hello world") == 2
    assert count("hello world 😀é") == 4
    assert count("") == 0


def test_special_tokens_are_plain_text() -> None:
    assert count("<|endoftext|>") > 1


def test_a_lone_surrogate_is_counted_not_raised() -> None:
    assert count("\ud800") == count("?")
    assert reaches(["a \ud800 b"], 2)


@given(st.text(max_size=400))
@example(" " * 400)
def test_a_count_never_exceeds_the_bytes(text: str) -> None:
    assert 0 <= count(text) <= size([text])


@given(texts)
def test_a_small_request_is_counted_exactly(parts: list[str]) -> None:
    assert measure(parts, size(parts)) == Counted(sum(map(count, parts)), True, size(parts))


@given(texts, st.integers(-1, 400))
def test_reaches_agrees_with_the_count(parts: list[str], threshold: int) -> None:
    assert reaches(parts, threshold) == (sum(map(count, parts)) >= threshold)


@given(texts, st.integers(0, 300), st.integers(1, 300))
def test_a_cut_is_the_slice_of_all_texts_together(parts: list[str], start: int, length: int) -> None:
    assert "".join(cut(parts, start, length)) == "".join(parts)[start : start + length]


def test_a_large_request_is_sampled_from_head_middle_and_tail() -> None:
    parts = ["h" * 50_000, "m" * 50_000, "t" * 50_000]
    taken = "".join(sample(parts, 150_000))
    assert len(taken) == 4096
    assert set(taken) == {"h", "m", "t"}
    got = measure(parts, 150_000)
    assert not got.exact
    assert 0 < got.tokens <= 150_000


def test_a_sample_of_even_text_extrapolates_close_to_the_truth() -> None:
    text = "The quick brown fox jumps over the lazy dog. " * 4000
    got = measure([text], len(text))
    assert not got.exact
    assert abs(got.tokens - count(text)) * 50 < count(text)


def test_exact_counts_all_of_a_large_request() -> None:
    text = "budget and spend, " * 20_000
    assert measure([text], len(text), exact=True) == Counted(count(text), True, len(text))


class Meter:
    """Counts the characters that an encoder was given: work, not seconds."""

    def __init__(self) -> None:
        self.seen = 0

    def encoder(self) -> Encoder:
        def take(text: str) -> int:
            self.seen += len(text)
            return len(text)

        def till(text: str, limit: int) -> int | None:
            self.seen += len(text)
            return None if len(text) > limit else len(text)

        return Encoder("meter", True, take, till)


def test_hostile_sizes_cost_bounded_work(monkeypatch: pytest.MonkeyPatch) -> None:
    for hostile in (["a" * 20_000_000], [" " * 1000] * 20_000, ["", "😀" * 5_000_000]):
        meter = Meter()
        monkeypatch.setattr(module, "encoder", meter.encoder)
        measure(hostile, size(hostile))
        assert meter.seen <= 16_384
        meter.seen = 0
        got = measure(hostile, size(hostile), exact=True)
        assert not got.exact
        assert meter.seen <= module.FULL_CHARS
        meter.seen = 0
        reaches(hostile, 10**9)
        assert meter.seen <= module.FULL_CHARS


def test_reaches_extrapolates_past_what_it_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    meter = Meter()
    monkeypatch.setattr(module, "encoder", meter.encoder)
    assert reaches(["a" * 8_000_000], 7_900_000)
    assert not reaches(["a" * 8_000_000], 8_100_000)


def test_a_megabyte_of_spaces_is_counted() -> None:
    assert 0 < count(" " * 1_000_000) < 1_000_000


def test_without_any_encoder_bytes_stand_for_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "encoder", byte_encoder)
    assert measure(["é" * 20_000], 40_000, exact=True) == Counted(40_000, False, 40_000)
    assert byte_encoder().count_till("abcd", 3) is None
    assert byte_encoder().count_till("abcd", 4) == 4


@given(st.text(max_size=300), st.integers(1, 200))
def test_pieces_are_the_text_again_and_none_is_too_long(text: str, times: int) -> None:
    whole = text * times
    cut_up = list(pieces(whole))
    assert "".join(cut_up) == whole
    assert all(0 < len(p) <= PIECE_CHARS for p in cut_up)


@given(st.lists(st.text("abcdefghij ,.\u00e9", min_size=1, max_size=30), min_size=1, max_size=9))
@settings(deadline=None)
def test_counting_in_pieces_loses_nothing_and_adds_a_token_a_cut_at_most(words: list[str]) -> None:
    text = " ".join(words) * (20_000 // len(" ".join(words)))
    whole, rest = module._sum_paused(encoder(), [text], lambda: None, lambda: False)
    assert rest is None
    assert abs(whole - count(text)) <= 2 * len(list(pieces(text)))


def test_text_with_spaces_is_counted_in_pieces_as_it_is_whole() -> None:
    text = "The quick brown fox jumps over the lazy dog, and says nothing. " * 3000
    assert len(list(pieces(text))) > 20
    assert measure([text], len(text), exact=True) == Counted(count(text), True, len(text))


def test_the_loop_gets_its_turn_after_every_piece() -> None:
    """Work between two pauses is bounded in characters, whatever the texts are."""
    since, most, turns = 0, 0, 0

    def counted(text: str) -> int:
        nonlocal since, most
        since += len(text)
        most = max(most, since)
        return len(text)

    def pause() -> None:
        nonlocal since, turns
        since, turns = 0, turns + 1

    enc = Encoder("meter", True, counted, lambda text, limit: None)
    for texts in (["x" * 1_000_000], ["word " * 200_000], ["ab"] * 100_000):
        most = since = turns = 0
        module._sum_paused(enc, texts, pause, lambda: False)
        assert most <= 2 * PIECE_CHARS
        assert turns >= sum(map(len, texts)) // PIECE_CHARS - 1


def test_only_so_much_is_counted_and_the_rest_is_extrapolated() -> None:
    tokens, size = module._sum_paused(encoder(), ["word " * 10_000] * 4, lambda: None, lambda: False, 100_000)
    assert size is not None and 100_000 - PIECE_CHARS <= size <= 100_000
    got = module._scaled(tokens, size, 200_000)
    assert abs(got - count("word " * 40_000)) < 100


def test_a_million_texts_are_not_walked() -> None:
    class Texts(list[str]):
        looked = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            raise AssertionError("walked")

    many = Texts(["hello there"] * 100_000)
    got = measure(many, 1_100_000)
    assert not got.exact
    assert abs(got.tokens - 200_000) <= 2_000
    assert len(sample_many(many)) <= MANY
