import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.tokens.bound import CLAUDE, GEMINI, OPENAI, OTHER, family, input_best, input_bound
from spendgate.tokens.count import Counted, measure

models = st.sampled_from(["gpt-4o", "claude-sonnet-4-5", "llama-3-70b", "", "mistral-large"])


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-4o", OPENAI), ("openai/gpt-5.4", OPENAI), ("o3", OPENAI), ("o4-mini", OPENAI),
        ("ft:gpt-4o-mini-2024-07-18:acme::x", OPENAI), ("gpt-oss-120b", OTHER), ("orca-2", OTHER),
        ("claude-opus", CLAUDE), ("us.anthropic.claude-3-haiku", CLAUDE), ("anthropic/claude-opus-5", CLAUDE),
        ("llama-3-8b", OTHER), ("", OTHER), ("models/gemini-2.5-pro", GEMINI), ("gemma-3-27b-it", OTHER),
    ],
)  # fmt: skip
def test_the_family_is_read_from_the_name(model: str, expected: object) -> None:
    assert family(model) is expected


@given(st.text(max_size=300), models, st.booleans())
def test_the_bound_is_never_below_the_count(text: str, model: str, tools: bool) -> None:
    counted = measure([text], len(text.encode("utf-8", "replace")))
    assert input_bound(counted, model, tools) >= counted.tokens == input_best(counted)


@given(
    st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6), st.booleans(), models, st.booleans()
)
def test_more_tokens_never_lower_the_bound(
    a: int, b: int, extra: int, exact: bool, model: str, tools: bool
) -> None:
    low, high = sorted((a, b))
    small, large = Counted(low, exact, low + extra), Counted(high, exact, high + extra)
    assert input_bound(small, model, tools) <= input_bound(large, model, tools)


@given(st.integers(0, 10**6), st.integers(0, 10**6), models)
def test_tools_never_lower_the_bound(tokens: int, extra: int, model: str) -> None:
    counted = Counted(tokens, True, tokens + extra)
    assert input_bound(counted, model, True) >= input_bound(counted, model, False)


def test_an_extrapolation_is_bounded_by_bytes() -> None:
    assert input_bound(Counted(10, False, 1000), "gpt-4o", False) == 1050


def test_an_exact_count_takes_the_family_factor_rounded_up() -> None:
    assert input_bound(Counted(11, True, 1000), "gpt-4o", False) == 13 + 50
    assert input_bound(Counted(11, True, 1000), "claude-opus", True) == 500 + 800
    assert input_bound(Counted(400, True, 1000), "claude-opus", True) == 800 + 800
    assert input_bound(Counted(11, True, 12), "llama-3-8b", False) == 12 + 400
