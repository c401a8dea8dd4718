"""`spendgate propose` on a real git remote, and on doubles of both forges."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from support import forge
from support.asks import end
from support.usage_lines import record, write_log

from spendgate.budget.load import load_policy
from spendgate.cli.main import main
from spendgate.ledger.redis.embedded import EmbeddedRedis
from spendgate.ledger.redis.ledger import RedisLedger
from spendgate.records.outcome import Outcome

UNTIL = (datetime.now(UTC) + timedelta(days=20)).strftime("%Y-%m-%d")
BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
metadata: {name: payments}
spec:
  team: payments            # whose
  monthlyBudgetUSD: 8000
"""
APPROVERS = "approvers:\n  - {upToUSD: 1000, who: [lead]}\n  - {who: [org/finance]}\n"


def git(*argv: str, cwd: Path) -> str:
    done = subprocess.run(["git", *argv], cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@dataclass
class House:
    remote: Path
    work: Path
    home: Path
    env: dict[str, str]

    def run(self, *argv: str, ok: int = 0, **env: str) -> subprocess.CompletedProcess[str]:
        out, err = io.StringIO(), io.StringIO()
        before = Path.cwd()
        os.chdir(self.work)
        code = 0
        try:
            with (
                mock.patch.dict(os.environ, {**self.env, **env}, clear=True),
                contextlib.redirect_stdout(out),
                contextlib.redirect_stderr(err),
            ):
                main(["propose", *argv])
        except SystemExit as e:
            code = int(e.code or 0)
        finally:
            os.chdir(before)
        assert code == ok, out.getvalue() + err.getvalue()
        return subprocess.CompletedProcess(argv, code, out.getvalue(), err.getvalue())

    def branches(self) -> set[str]:
        return set(git("branch", "--format=%(refname:short)", cwd=self.remote).split())

    def raise_(
        self, *more: str, usd: str = "500", ok: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        argv = (
            "raise",
            "--team",
            "payments",
            "--usd",
            usd,
            "--until",
            UNTIL,
            "--reason",
            "Black Friday load",
        )
        return self.run(*argv, *more, ok=ok, **env)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    remote, work, home = tmp_path / "remote.git", tmp_path / "work", tmp_path / "home"
    home.mkdir()
    git("init", "-q", "--bare", "-b", "main", str(remote), cwd=tmp_path)
    git("clone", "-q", str(remote), str(work), cwd=tmp_path)
    (work / "budgets").mkdir()
    (work / "budgets" / "payments.yaml").write_text(BUDGET)
    (work / "approvers.yaml").write_text(APPROVERS)
    git("add", "-A", cwd=work)
    git("-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "budgets", cwd=work)
    git("push", "-q", "origin", "HEAD:main", cwd=work)
    env = {
        k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GITLAB_", "GIT_", "SPENDGATE_"))
    }
    env |= {"HOME": str(home), "GIT_CONFIG_NOSYSTEM": "1"}
    yield House(remote, work, home, env)


def test_plain_git_gets_a_branch_with_one_commit_that_raises_the_budget(house: House, tmp_path: Path) -> None:
    (house.work / "budgets" / "payments.yaml").write_text("half an edit of somebody's")

    said = json.loads(house.raise_("-o", "json").stdout)

    assert said["pull_request"] is None
    assert said["approvers"] == ["lead"]
    assert house.branches() == {"main", said["branch"]}
    assert git("rev-list", "--count", f"main..{said['branch']}", cwd=house.remote) == "1"
    assert git("show", "--stat", "--format=%s%n%b", said["branch"], cwd=house.remote).splitlines()[:2] == [
        f"Raise the LLM budget of payments by $500.00 until {UNTIL} (UTC, inclusive)",
        "Black Friday load",
    ]
    proposed = tmp_path / "proposed.yaml"
    proposed.write_text(git("show", f"{said['branch']}:budgets/payments.yaml", cwd=house.remote))
    budget = load_policy([proposed]).budget("payments")
    assert budget is not None
    assert budget.limit_nanousd(int(datetime.now(UTC).timestamp() * 1000)) == 8500 * 10**9
    assert (
        budget.limit_nanousd(int((datetime.now(UTC) + timedelta(days=22)).timestamp() * 1000)) == 8000 * 10**9
    )
    # nobody's work tree was touched
    assert (house.work / "budgets" / "payments.yaml").read_text() == "half an edit of somebody's"


def test_the_same_wish_twice_makes_one_branch(house: House) -> None:
    first = json.loads(house.raise_("-o", "json").stdout)
    again = json.loads(house.raise_("-o", "json").stdout)
    assert again["branch"] == first["branch"]
    assert (first["existed"], again["existed"]) == (False, True)
    assert len(house.branches()) == 2


def test_a_dry_run_prints_the_change_and_pushes_nothing(house: House) -> None:
    said = house.raise_("--dry-run").stdout
    assert "+    - usd: 500" in said
    assert "dry run: nothing was pushed" in said
    assert house.branches() == {"main"}


def github_env(url: str) -> dict[str, str]:
    return {"GITHUB_API_URL": url, "GITHUB_TOKEN": forge.TOKEN}


def as_remote(house: House, url: str) -> dict[str, str]:
    """git reaches the bare repository under a forge's URL."""
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{house.remote.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": url,
    }


def test_github_gets_a_pull_request_with_reason_approvers_and_simulation(
    house: House, tmp_path: Path
) -> None:
    log = tmp_path / "usage.jsonl"
    write_log(log, [record(n, team="payments") for n in range(5)])
    repo = "git@github.com:acme/budgets.git"
    rewrite = as_remote(house, repo)
    books = forge.Books("acme/budgets", users={"lead": 7})
    with forge.serve(forge.github, books) as url:
        environment: dict[str, Any] = {**github_env(url), **rewrite}
        dry = json.loads(house.raise_("--repo", repo, "--dry-run", "-o", "json", **environment).stdout)
        books.branches.add(dry["branch"])
        said = house.raise_("--repo", repo, "--log", str(log), "--asked-by", "kim", **environment).stdout
        (request,) = books.requests
        assert request["base"] == "main"
        assert request["title"].startswith("Raise the LLM budget of payments by $500.00 until")
        for part in ("Black Friday load", "**Asked for by:** kim", "@lead", "`budgets/payments.yaml`"):
            assert part in request["body"]
        assert books.reviewers == [(1, ["lead"])]
        ((number, comment),) = books.comments
        assert number == 1
        assert "payments" in comment and "refused" in comment
        assert request["html_url"] in said

        again = house.raise_("--repo", repo, **environment).stdout
        assert "was open already" in again
        assert len(books.requests) == 1


@pytest.fixture
async def spent(ledger: RedisLedger) -> int:
    """7,990 USD of the month, before the log begins; gives the time (ms)."""
    now = int(datetime.now(UTC).timestamp() * 1000)
    await ledger.settle([end("x1", 7_990 * 10**9, team="payments", at_ms=now)], now)
    return now


def test_the_comment_tells_what_was_refused_and_what_would_pass_from_the_ledgers_counters(
    house: House, spent: int, server: EmbeddedRedis, tmp_path: Path
) -> None:
    log = tmp_path / "usage.jsonl"
    refused = {
        "outcome": Outcome.REFUSED,
        "decision": "reject",
        "reason": "monthly_budget_exceeded",
        "tokens": {},
    }
    write_log(
        log,
        [
            record(n, team="payments", at_ms=spent, cost_nanousd=0, estimate_nanousd=450 * 10**9, **refused)
            for n in range(3)
        ],
    )
    told = house.raise_("--dry-run", "--log", str(log), REDIS_URL=server.url)
    assert "Of 3 requests that today's budget refused" in told.stdout
    assert "the proposed one lets 2 pass: $900.00 more spent so far." in told.stdout
    assert "$7,990.00 of the month are not in the log; both columns begin with them." in told.stdout
    alone = house.raise_("--dry-run", "--log", str(log))
    assert "the comment knows the log alone: no ledger found" in alone.stderr
    assert "No ledger was asked" in alone.stdout


def test_gitlab_gets_a_merge_request(house: House) -> None:
    repo = "git@gitlab.com:acme/infra/budgets.git"
    books = forge.Books("acme/infra/budgets", users={"lead": 7})
    with forge.serve(forge.gitlab, books) as url:
        environment: dict[str, Any] = {
            "GITLAB_API_URL": url,
            "GITLAB_TOKEN": forge.TOKEN,
            **as_remote(house, repo),
        }
        house.raise_("--repo", repo, **environment)
        (request,) = books.requests
        assert (request["target_branch"], request["remove_source_branch"]) == ("main", True)
        assert books.reviewers == [(1, [7])]
        assert request["source_branch"] in house.branches()
        assert "was open already" in house.raise_("--repo", repo, **environment).stdout
        assert len(books.requests) == 1


def test_a_reviewer_that_the_forge_refuses_is_told_and_the_request_stands(house: House) -> None:
    repo = "git@gitlab.com:acme/budgets.git"
    books = forge.Books("acme/budgets")
    with forge.serve(forge.gitlab, books) as url:
        environment: dict[str, Any] = {
            "GITLAB_API_URL": url,
            "GITLAB_TOKEN": forge.TOKEN,
            **as_remote(house, repo),
        }
        done = house.raise_("--repo", repo, usd="4000", **environment)
    assert len(books.requests) == 1
    assert "reviewer org/finance was not asked" in done.stderr
    assert "org/finance" in books.requests[0]["description"]


def test_a_wrong_token_is_one_line_that_names_the_call(house: House) -> None:
    repo = "git@github.com:acme/budgets.git"
    with forge.serve(forge.github, forge.Books("acme/budgets")) as url:
        environment: dict[str, Any] = {
            "GITHUB_API_URL": url,
            "GITHUB_TOKEN": "wrong",
            **as_remote(house, repo),
        }
        done = house.raise_("--repo", repo, ok=1, **environment)
    assert done.stderr.splitlines() == [
        'spendgate: github: POST /repos/acme/budgets/pulls: 401: {"message": "Bad credentials"}'
    ]


@pytest.mark.parametrize(
    ("argv", "code", "says"),
    [
        (("--usd", "500", "--until", "2020-01-01"), 2, "is past"),
        (("--usd", "500", "--until", "soon"), 2, "not a date"),
        (("--usd", "much", "--until", UNTIL), 2, "not an amount"),
        (("--usd", "0", "--until", UNTIL), 1, "more than 0"),
        (("--usd", "1", "--until", UNTIL, "--team", "nobody"), 1, "no LLMBudget of team nobody"),
        (("--usd", "1", "--until", UNTIL, "--reason", " "), 1, "give a reason"),
        (("--usd", "1", "--until", UNTIL, "--base", "nope"), 1, "nope"),
        (("--usd", "1", "--until", UNTIL, "--path", "../.."), 1, "not in the repository"),
        (("--usd", "1", "--until", UNTIL, "--forge", "github"), 1, "GITHUB_TOKEN"),
        (("--usd", "1", "--until", UNTIL, "--repo", "/nowhere"), 1, "does not exist"),
    ],
)
def test_a_wrong_wish_is_one_line_and_pushes_nothing(
    house: House, argv: tuple[str, ...], code: int, says: str
) -> None:
    given = {"--team": "payments", "--reason": "r", **dict(zip(argv[::2], argv[1::2], strict=True))}
    done = house.run("raise", *(x for pair in given.items() for x in pair), ok=code)
    assert says in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert house.branches() == {"main"}


def test_the_check_holds_a_raise_back_until_the_right_person_approved(house: House, tmp_path: Path) -> None:
    made = json.loads(house.run(
        "budget", "--team", "payments", "--usd", "9500", "--reason", "more apps", "-o", "json"
    ).stdout)  # fmt: skip
    after = tmp_path / "after"
    git("clone", "-q", "-b", made["branch"], str(house.remote), str(after), cwd=tmp_path)
    before = house.work / "budgets"
    argv = ("check", "--before", str(before), "--after", str(after / "budgets"))
    refused = house.run(*argv, "--approved-by", "lead", ok=1)
    assert "payments: $1,500.00 a month ($1,500.00): needs org/finance" in refused.stdout
    house.run(*argv, "--approved-by", "mo", "--member", "org/finance=mo")
