"""`spendgate prices`: list, show, diff, check and import."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from spendgate.cli.main import main
from spendgate.cli.prices import command

BUDGET = """\
apiVersion: ai.systemhardening.com/v1
kind: LLMBudget
spec:
  team: ml
  monthlyBudgetUSD: 8000
  defaultModel: gpt-4o-mini
  costRouting: {enabled: true, cheapModel: house-small, expensiveModel: gpt-5.4, complexityThreshold: 500}
  downgrades: [{from: "claude-*", to: claude-haiku-9}]
  modelLimits: [{modelPattern: "claude-opus*", maxMonthlyUSD: 10}, {modelPattern: "hosue-*", maxMonthlyUSD: 1}]
"""
CONFIG = """\
upstreams:
  - {name: openai, url: "https://api.openai.com", models: ["gpt-*"]}
  - {name: groq, url: "https://api.groq.com", models: [llama-3.3-70b-versatile, llama-99b]}
"""
OWN = """\
models:
  gpt-4o: {input: 2, output: 8}
  house-*: {input: 1, output: 2}
discounts: [{percent: 10, provider: anthropic, model: claude-opus-5}]
"""


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(command, [str(a) for a in args])


@pytest.fixture
def own(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    path.write_text(OWN)
    return path


def test_list_names_what_matches_with_its_prices(own: Path) -> None:
    rows = json.loads(run("list", "gpt-4o", "--prices", own, "-o", "json").stdout)
    assert [(r["provider"], r["where"], r["input"], r["output"]) for r in rows] == [
        ("openai", "operator", "2", "8"),
        ("openai", "catalogue", "2.50", "10"),
        ("azure", "catalogue", "2.50", "10"),
    ]
    assert rows[1]["service_tiers"] == ["batch", "fast", "priority"]


def test_list_gives_csv_and_a_table() -> None:
    rows = list(csv.DictReader(io.StringIO(run("list", "--provider", "anthropic", "-o", "csv").stdout)))
    assert {"claude-opus-5", "claude-haiku-4-5"} <= {r["model"] for r in rows}
    assert all(r["provider"] == "anthropic" and float(r["input"]) > 0 for r in rows)
    shown = run("list", "claude-opus-5", "--provider", "anthropic").stdout.splitlines()
    assert shown[1].split() == ["anthropic", "claude-opus-5", "5", "0.50", "25", "batch", "fast", "128000"]
    assert shown[2].startswith("1 models; prices of 2026-11-29, version ")


def test_show_tells_where_a_price_is_from() -> None:
    out = run("show", "openai/gpt-5.4", "--tier", "flex", "--at", "2026-11-29").stdout
    assert out.startswith("openai/gpt-5.4 → gpt-5.4   openai, flex price, from the catalogue\n")
    for said in ("source        https://developers.openai.com", "price         input 1.25", "above 272,000",
                 "in eu         110 %", "limits        1050000 context, 128000 output"):  # fmt: skip
        assert said in out
    assert "charged" not in out


def test_show_counts_discounts_places_and_days(own: Path) -> None:
    def shown(*args: str) -> dict[str, object]:
        found: dict[str, object] = json.loads(run("show", *args, "--prices", own, "-o", "json").stdout)
        return found

    assert shown("claude-opus-5", "--residency", "us")["percent_of_list"] == "99"
    assert shown("gpt-4o")["where"] == "operator"
    before = shown("claude-opus-4-6", "--at", "2026-03-12")
    assert before["context_tiers"] and not shown("claude-opus-4-6")["context_tiers"]


def test_show_says_what_stands_in_for_a_tier_that_is_not_known() -> None:
    result = run("show", "gpt-5.4", "--tier", "ultra")
    assert result.exit_code == 0
    assert "gpt-5.4 has no tier 'ultra'; the dearest of its tiers stands in" in result.stderr


def test_a_model_without_a_price_exits_1_and_says_what_it_is_charged_as(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as e:
        main(["prices", "show", "claude-opus-99"])
    assert e.value.code == 1
    assert (
        "claude-opus-99 has no price; where a budget does not reject it, it is charged as "
        in capsys.readouterr().err
    )


def test_diff_names_every_price_that_differs(own: Path) -> None:
    rows = json.loads(run("diff", "built-in", own, "-o", "json").stdout)
    changed = {(r["model"], r["kind"]): (r["before"], r["after"]) for r in rows}
    assert changed["gpt-4o", "input"] == ("2.50", "2")
    assert changed["gpt-4o", "cached_input"] == ("1.25", "")
    assert changed["house-*", "output"] == ("", "2")
    assert changed["claude-opus-5", "percent_of_list"] == ("", "90")
    assert {r["model"] for r in rows} == {"gpt-4o", "house-*", "claude-opus-5"}


def test_diff_of_a_thing_with_itself_is_empty(own: Path) -> None:
    assert run("diff", own, own).stdout == "0 prices differ\n"
    assert run("diff", "built-in", "built-in", "-o", "json").stdout == "[]\n"


def test_diff_reads_the_catalogue_of_another_release(tmp_path: Path) -> None:
    from spendgate.pricing import catalogue

    text = (Path(catalogue.__file__).parent / "catalogue.json").read_text()
    older = tmp_path / "catalogue.json"
    older.write_text(
        text.replace(
            '"gpt-4o": {"prices":[["",{"input":2500000', '"gpt-4o": {"prices":[["",{"input":2000000', 1
        )
    )
    (row,) = json.loads(run("diff", older, "built-in", "-o", "json").stdout)
    assert row == {"provider": "openai", "model": "gpt-4o", "kind": "input", "before": "2", "after": "2.50"}


def test_check_fails_where_a_model_that_requests_go_to_has_no_price(tmp_path: Path, own: Path) -> None:
    budget, config = tmp_path / "b.yaml", tmp_path / "c.yaml"
    budget.write_text(BUDGET)
    config.write_text(CONFIG)
    result = run("check", "--policy", budget, "--config", config, "--prices", own)
    assert result.exit_code == 1
    assert result.stderr.splitlines() == [
        "team ml: downgrades.to: claude-haiku-9 has no price; add it to --prices",
        "team ml: modelLimits: hosue-* has no price; add it to --prices",
        "upstream groq: llama-99b has no price at groq; add it to --prices",
    ]
    assert "house-small" in run("check", "--policy", budget).stderr


def test_check_looks_through_templates_too(tmp_path: Path, own: Path) -> None:
    budget = tmp_path / "b.yaml"
    budget.write_text(BUDGET.replace("team: ml", "team: 'ml-*'"))
    assert (
        "team ml-*: downgrades.to: claude-haiku-9" in run("check", "--policy", budget, "--prices", own).stderr
    )


def test_check_passes_where_all_have_one(tmp_path: Path) -> None:
    budget = tmp_path / "b.yaml"
    budget.write_text(BUDGET.replace("house-small", "gpt-4o-mini").replace("claude-haiku-9", "claude-haiku-4-5")
                      .replace("hosue-*", "gpt-*"))  # fmt: skip
    result = run("check", "--policy", budget)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("6 models named, each has a price; prices of 2026-11-29")


def test_check_without_anything_to_check_is_wrong_usage() -> None:
    assert run("check").exit_code == 2


def test_import_writes_a_price_file_and_names_what_it_left_out(tmp_path: Path) -> None:
    listed = tmp_path / "model_prices.json"
    chat = {"litellm_provider": "groq", "mode": "chat"}
    costs = {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}
    listed.write_text(json.dumps({"groq/a": {**chat, **costs}, "groq/b": chat}))
    result = run("import", "litellm", listed)
    assert result.stdout.splitlines()[1:] == ["models:", '  "groq/a": {input: 1, output: 2}']
    assert result.stderr == "left out groq/b: it prices nothing that is metered\n"
    made = tmp_path / "groq.yaml"
    made.write_text(result.stdout)
    assert json.loads(run("show", "a", "--provider", "groq", "--prices", made, "-o", "json").stdout)["usd"] == {
        "input": "1", "output": "2",
    }  # fmt: skip


@pytest.mark.parametrize(
    "args",
    [
        ("import", "litellm", "/none.json"),
        ("diff", "/none.yaml", "built-in"),
        ("list", "--prices", "/none.yaml"),
    ],
)
def test_a_file_that_can_not_be_read_is_one_line_and_exit_1(
    args: tuple[str, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        main(["prices", *args])
    assert e.value.code == 1
    said = capsys.readouterr().err
    assert "none" in said and "cannot be read" in said and said.count("\n") == 1
