"""A limit in words and as data."""

import pytest

from spendgate.budget.bounds import Bound, Subject
from spendgate.budget.limit_message import limit_fact, limit_row


def bound(
    per: str, value: str, unit: str, most: int, window: str = "month", match: str = "", group: str = ""
) -> Bound:
    subject = Subject(per, value, window, match)
    return Bound("s", "month", most, most, "limit_exceeded", unit=unit, group=group, subject=subject)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("made", "held", "text"),
    [
        (bound("user", "ann", "usd", 50 * 10**9), 0, "User ann of team ml has used $2.00 of $50.00 this month"),
        (bound("user", "", "usd", 50 * 10**9), 0, "User without a name of team ml has used $2.00 of $50.00 this month"),
        (bound("model", "o3", "usd", 5 * 10**9), 10**9,
         "Team ml has used $2.00 of $5.00 for o3 this month, and $1.00 is held for requests that are still running"),
        (bound("tag:project", "beta", "usd", 5 * 10**9, "quarter"), 0,
         "Project beta of team ml has used $2.00 of $5.00 this quarter"),
        (bound("team", "ml", "usd", 9 * 10**9, "day", "llama-*", "dept"), 0,
         "Team ml of group dept has used $2.00 of $9.00 for llama-* today"),
        (bound("user", "ann", "usd", 9 * 10**9, "total", "", "dept"), 0,
         "User ann of group dept has used $2.00 of $9.00 in all"),
    ],
)  # fmt: skip
def test_a_limit_says_whose_it_is_and_how_much_is_used(made: Bound, held: int, text: str) -> None:
    assert limit_fact(made, "ml", 2 * 10**9, held) == text


def test_counts_are_counts_in_words_and_as_data() -> None:
    made = bound("run", "r1", "requests", 200, "total")
    assert limit_fact(made, "ml", 1, 0) == "Run r1 of team ml has used 1 of 200 requests in all"
    assert limit_row(made, 1, 0, None) == {
        "per": "run", "value": "r1", "unit": "requests", "window": "total", "max": 200, "used": 1, "held": 0,
        "remaining": 199, "resets_at": None,
    }  # fmt: skip
