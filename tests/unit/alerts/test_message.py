from __future__ import annotations

import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spendgate.alerts.alert import Alert
from spendgate.alerts.message import AGAIN, TEXT_MAX, Links, slack_text, text_of, usd

T0 = 1_795_000_000_000
ALERT = Alert(
    "t:80", "threshold", "ml-team", "202611", T0, 80, "alert_and_downgrade", (), 6_400_000_000_000, 5 * 10**9,
    8_000 * 10**9, 11_000 * 10**9, T0 + 3 * 86_400_000, (("chat", 6_000 * 10**9), ("batch", 400 * 10**9)),
    (("gpt-4o", 6_400 * 10**9),), "gpt-4o-mini",
)  # fmt: skip


def test_the_text_says_all_that_a_reader_needs() -> None:
    links = Links("https://grafana/d/{team}", "https://wiki/llm")
    assert text_of(ALERT, links).splitlines() == [
        "LLM budget of team ml-team: 80 % reached in 2026-11, $6400.00 spent of $8000.00.",
        "At this pace it is exhausted on 2026-11-21. Forecast for the month: $11000.00. "
        "Held by requests in flight: $5.00.",
        "Top apps: chat $6000.00, batch $400.00. Top models: gpt-4o $6400.00.",
        "From now on: requests go to cheaper models (gpt-4o-mini) where there is one.",
        "Dashboard: https://grafana/d/ml-team · Runbook: https://wiki/llm",
    ]


@given(st.integers(1, 1000), st.sampled_from(["threshold", "exhausted"]))
def test_law_the_first_percentage_is_the_threshold(percent: int, kind: str) -> None:
    text = text_of(replace(ALERT, percent=percent, kind=kind, key=f"t:{percent}"))  # type: ignore[arg-type]
    assert re.findall(r"(\d+) %", text)[0] == str(percent)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"action": "alert"}, "nothing changes, this is for your information"),
        ({"action": "reject", "kind": "exhausted"}, "refused (429) until 2026-12-01 00:00 UTC"),
        ({"action": "reject", "kind": "exhausted", "audit": True}, "audit mode"),
        ({"kind": "recovered"}, "admitted again"),
        ({"kind": "rebuilt", "detail": "3 exchanges added."}, "rebuilt for 2026-11: 3 exchanges added."),
        ({"kind": "drift", "detail": "openai bills 3 more."}, "drifts in 2026-11: openai bills 3 more."),
    ],
)
def test_every_kind_says_what_happens_next(change: dict[str, object], words: str) -> None:
    assert words in text_of(replace(ALERT, **change))  # type: ignore[arg-type]


def test_a_repeated_sending_says_so() -> None:
    assert text_of(ALERT, again=True).endswith(AGAIN)
    assert AGAIN not in text_of(ALERT)


def test_a_client_s_names_can_neither_mention_nor_link_nor_break_the_text() -> None:
    names = (("<!channel> & <https://evil|x>", 10**9), ("a\nb\x00" + "c" * 500, 10**9))
    text = slack_text(replace(ALERT, top_apps=names))
    assert "<" not in text and ">" not in text and "://" not in text
    assert "&lt;!channel&gt; &amp; " in text
    assert "a?b?" in text and "c" * 100 not in text


@given(st.text(max_size=9000), st.text(max_size=300))
def test_law_a_text_is_never_empty_and_fits_slack(detail: str, team: str) -> None:
    text = text_of(Alert("drift:x", "drift", team, "202611", T0, detail=detail))
    assert 0 < len(text) <= TEXT_MAX


@pytest.mark.parametrize(
    ("nano", "text"), [(0, "$0.00"), (4_999_999, "$0.00"), (5_000_001, "$0.01"), (-1_500_000_000, "-$1.50")]
)
def test_amounts_have_two_decimals(nano: int, text: str) -> None:
    assert usd(nano) == text


AMOUNTS = st.integers(0, 2**60)


@given(
    st.builds(
        Alert, st.text(), st.just("drift"), st.text(), st.text(), AMOUNTS, channels=st.tuples(st.text()),
        top_apps=st.tuples(st.tuples(st.text(), AMOUNTS)),
    )
)  # fmt: skip
def test_law_an_alert_comes_back_from_json_as_it_was(alert: Alert) -> None:
    assert Alert.from_json(alert.to_json()) == alert
