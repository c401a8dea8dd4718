"""What an answer to an over-budget request says of the way it took."""

from __future__ import annotations

import json

import pytest

from spendgate.doctor.probe import judge

OURS = {"x-spendgate-reason": "monthly_budget_exceeded"}


def refused(team: str) -> str:
    return json.dumps({"error": {"details": {"team": team}}})


@pytest.mark.parametrize(
    ("status", "headers", "text", "code", "fix"),
    [
        (429, OURS, refused("spendgate-doctor"), "", ""),
        (429, OURS, refused("unattributed"), "doctor-unknown", "--key"),
        (429, {}, "slow down", "not-enforced", "render"),
        (200, {}, "{}", "not-enforced", "render"),
        (404, {}, "no such model", "not-enforced", "render"),
        (404, {"x-spendgate-model": "m"}, "no such model", "doctor-passed", "--header"),
        (401, {}, "Jwt is missing", "doctor-refused", "keys issue"),
        (413, {}, "", "body-limit", "request_body_buffer_limit"),
        (503, {}, "", "gateway-failing", "serve"),
        (500, {}, "", "gateway-failing", "serve"),
    ],
)
def test_each_answer_has_its_meaning(
    status: int, headers: dict[str, str], text: str, code: str, fix: str
) -> None:
    found = judge("here", "chat", status, headers, text)
    assert (found.code if found else "") == code
    assert found is None or fix in found.fix
