"""Each provider's export is read as it is written; what is not one is named by file, line and field."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path

import pytest

from spendgate.errors import ConfigurationError
from spendgate.finops.invoice.collect import Invoice
from spendgate.finops.invoice.days import parse as day_of
from spendgate.finops.invoice.line import CREDIT, FEE, TAX, Line
from spendgate.finops.invoice.mapped import ColumnMap, parse_mapping
from spendgate.finops.invoice.names import fingerprint, kind_of, model_of
from spendgate.finops.invoice.registry import is_of, read_files

DAY = "20261003"
START = 1_790_985_600  # 2026-10-03T00:00:00Z

OPENAI_COSTS = {
    "object": "page", "has_more": False, "next_page": None,
    "data": [{
        "object": "bucket", "start_time": START, "end_time": START + 86_400,
        "results": [
            {"object": "organization.costs.result", "amount": {"value": 1.0625, "currency": "usd"},
             "line_item": "gpt-4o-2024-08-06, input", "project_id": None},
            {"object": "organization.costs.result", "amount": {"value": "0.1", "currency": "usd"},
             "line_item": "gpt-4o-2024-08-06, cached input", "project_id": None},
            {"object": "organization.costs.result", "amount": {"value": 3e-7, "currency": "usd"},
             "line_item": "gpt-4o-2024-08-06, output", "project_id": "p"},
        ],
    }],
}  # fmt: skip
OPENAI_USAGE = {
    "object": "page", "has_more": False,
    "data": [{
        "object": "bucket", "start_time": START, "end_time": START + 86_400,
        "results": [{
            "object": "organization.usage.completions.result", "input_tokens": 1000, "output_tokens": 500,
            "input_cached_tokens": 800, "input_audio_tokens": 3, "output_audio_tokens": 0, "num_model_requests": 5,
            "project_id": None, "user_id": None, "api_key_id": None, "model": "gpt-4o-2024-08-06", "batch": None,
        }],
    }],
}  # fmt: skip
ANTHROPIC_COST = {
    "data": [{
        "starting_at": "2026-10-03T00:00:00Z", "ending_at": "2026-10-04T00:00:00Z",
        "results": [
            {"currency": "USD", "amount": "123.45", "workspace_id": None, "cost_type": "tokens",
             "description": "Claude Sonnet 4.5 Usage - Input Tokens", "context_window": "0-200k",
             "model": "claude-sonnet-4-5-20250929", "service_tier": "standard",
             "token_type": "uncached_input_tokens"},
            {"currency": "USD", "amount": "2", "cost_type": "tokens", "model": "claude-sonnet-4-5-20250929",
             "token_type": "cache_creation.ephemeral_1h_input_tokens", "description": "x"},
            {"currency": "USD", "amount": "50.0", "cost_type": "web_search", "description": "Web Search Usage",
             "model": None, "token_type": None},
        ],
    }],
    "has_more": False, "next_page": None,
}  # fmt: skip
ANTHROPIC_USAGE = {
    "data": [{
        "starting_at": "2026-10-03T00:00:00Z", "ending_at": "2026-10-04T00:00:00Z",
        "results": [{
            "uncached_input_tokens": 1500, "cache_read_input_tokens": 200, "output_tokens": 500,
            "cache_creation": {"ephemeral_1h_input_tokens": 1000, "ephemeral_5m_input_tokens": 50},
            "server_tool_use": {"web_search_requests": 10}, "model": "claude-sonnet-4-5-20250929",
            "api_key_id": None, "workspace_id": None, "service_tier": "standard", "context_window": "0-200k",
        }],
    }],
    "has_more": False,
}  # fmt: skip
CUR = (
    "lineItem/LineItemType,lineItem/UsageStartDate,lineItem/ProductCode,lineItem/UsageType,lineItem/UsageAmount,"
    "lineItem/CurrencyCode,lineItem/UnblendedCost,product/ProductName,pricing/unit\n"
    "Usage,2026-10-03T00:00:00Z,AmazonBedrock,USE1-Claude3.5Sonnet-input-tokens,12.5,USD,0.0375,,1K tokens\n"
    "Tax,2026-10-03T00:00:00Z,AmazonBedrock,USE1-Claude3.5Sonnet-input-tokens,0,USD,9,,\n"
    "Credit,2026-10-03T00:00:00Z,AmazonBedrock,USE1-Claude3.5Sonnet-output-tokens,0,USD,-0.5,,\n"
    "Usage,2026-10-03T00:00:00Z,AmazonEC2,USE1-BoxUsage,1,USD,4,,Hrs\n"
)
CUR2 = (
    "line_item_line_item_type,line_item_usage_start_date,line_item_product_code,line_item_usage_type,"
    "line_item_usage_amount,line_item_currency_code,line_item_unblended_cost,product_product_name,pricing_unit\n"
    "Usage,2026-10-03 05:00:00,4abcdefghijk,USE1_OutputTokenCount-Units,0.25,USD,3.75,"
    "Claude Sonnet 4 (Amazon Bedrock Edition),1M tokens\n"
)
EXPLORER = {
    "GroupDefinitions": [{"Type": "DIMENSION", "Key": "USAGE_TYPE"}],
    "ResultsByTime": [{
        "TimePeriod": {"Start": "2026-10-03", "End": "2026-10-04"}, "Total": {}, "Estimated": False,
        "Groups": [{"Keys": ["EUW1-NovaPro-output-tokens"],
                    "Metrics": {"UnblendedCost": {"Amount": "1.2345678901", "Unit": "USD"}}}],
    }],
}  # fmt: skip
AZURE = (
    "﻿InvoiceSectionName,Date,MeterCategory,MeterSubCategory,MeterName,UnitOfMeasure,Quantity,"
    "CostInBillingCurrency,BillingCurrencyCode\n"
    "x,10/03/2026,Cognitive Services,Azure OpenAI,gpt 4o 0806 Inp glbl Tokens,1K,400,1.00,USD\n"
    "x,10/03/2026,Cognitive Services,Azure OpenAI,gpt 4o 0806 cached Inp glbl Tokens,1K,80,0.10,USD\n"
    "x,10/03/2026,Cognitive Services,Azure OpenAI,gpt 4o 0806 Outp glbl Tokens,1K,30,0.30,USD\n"
    "x,10/03/2026,Storage,Blob,LRS Data Stored,1 GB,5,7.00,USD\n"
)
GOOGLE = "\n".join(
    json.dumps(row)
    for row in (
        {"service": {"description": "Vertex AI"}, "sku": {"description": "Gemini 2.5 Pro Text Input - Predictions"},
         "usage_start_time": "2026-10-03 07:00:00 UTC", "cost": 1.25, "currency": "USD",
         "usage": {"amount": 1000000.0, "unit": "count"}, "credits": [{"name": "promo", "amount": -0.25}]},
        {"service": {"description": "Cloud Storage"}, "sku": {"description": "x"}, "cost": 3,
         "usage_start_time": "2026-10-03 07:00:00 UTC", "currency": "USD", "credits": []},
    )
)  # fmt: skip
GOOGLE_CSV = (
    "service.description,sku.description,usage_start_time,cost,currency,usage.amount\n"
    "Gemini API,Gemini 2.0 Flash Text Output,2026-10-03 07:00:00 UTC,0.4,USD,1000000\n"
)


def read(provider: str, tmp_path: Path, *files: object, mapping: ColumnMap | None = None) -> list[Line]:
    return list(invoice_of(provider, tmp_path, *files, mapping=mapping).lines)


def invoice_of(
    provider: str, tmp_path: Path, *files: object, mapping: ColumnMap | None = None, **how: object
) -> Invoice:
    paths = []
    for i, content in enumerate(files):
        path = tmp_path / f"file{i}"
        raw = content if isinstance(content, (str, bytes)) else json.dumps(content)
        path.write_bytes(raw if isinstance(raw, bytes) else raw.encode())
        paths.append(path)
    return read_files(provider, paths, mapping or ColumnMap(), **how)  # type: ignore[arg-type]


def bucket(**result: object) -> dict[str, object]:
    """A page with one result of a day."""
    return {"data": [{"start_time": START, "starting_at": "2026-10-03T00:00:00Z", "results": [result]}]}


def test_openai_costs_and_usage_together(tmp_path: Path) -> None:
    name = "gpt-4o-2024-08-06"
    assert read("openai", tmp_path, OPENAI_COSTS, OPENAI_USAGE) == [
        Line(DAY, name, "cached_input", Decimal("0.1"), 800),
        Line(DAY, name, "input", Decimal("1.0625"), 200, 5),
        Line(DAY, name, "input_audio", tokens=3, amounts=0),
        Line(DAY, name, "output", Decimal("0.0000003"), 500),
    ]


def test_openai_dashboards_csv(tmp_path: Path) -> None:
    head = (
        "start_time,end_time,start_time_iso,end_time_iso,amount_value,amount_currency,line_item,project_id\n"
    )
    row = (
        f'{START},{START + 86_400},2026-10-03T00:00:00+00:00,x,0.012,usd,"gpt-4o-mini-2024-07-18, output",p\n'
    )
    assert read("openai", tmp_path, head + row) == [
        Line(DAY, "gpt-4o-mini-2024-07-18", "output", Decimal("0.012"))
    ]


def test_anthropic_cost_is_in_cents_and_usage_has_its_kinds(tmp_path: Path) -> None:
    name = "claude-sonnet-4-5-20250929"
    lines = {
        (x.model, x.kind, x.charge): x for x in read("anthropic", tmp_path, ANTHROPIC_COST, ANTHROPIC_USAGE)
    }
    assert {k: x.cost_usd for k, x in lines.items() if x.cost_usd} == {
        (name, "input", ""): Decimal("1.2345"),
        (name, "cache_write_1h", ""): Decimal("0.02"),
        ("Web Search Usage", "searches", FEE): Decimal("0.5"),
    }
    assert {(x.kind, x.tokens) for x in lines.values() if x.tokens} == {
        ("input", 1500), ("cached_input", 200), ("cache_write_5m", 50), ("cache_write_1h", 1000), ("output", 500),
        ("searches", 10),
    }  # fmt: skip


def test_bedrock_reports_of_both_names_and_cost_explorer(tmp_path: Path) -> None:
    old, credit, tax = sorted(read("bedrock", tmp_path, CUR), key=lambda x: (x.charge, x.cost_usd))
    assert (old.day, old.kind, old.cost_usd, old.tokens) == (DAY, "input", Decimal("0.0375"), 12_500)
    assert fingerprint(old.model) == fingerprint("anthropic.claude-3-5-sonnet-20241022-v2:0")
    assert (credit.charge, credit.cost_usd, credit.tokens) == (CREDIT, Decimal("-0.5"), 0)
    assert (tax.charge, tax.cost_usd) == (TAX, Decimal(9))
    (new,) = read("bedrock", tmp_path, CUR2)
    assert (new.kind, new.cost_usd, new.tokens) == ("output", Decimal("3.75"), 250_000)
    assert fingerprint(new.model) == fingerprint("us.anthropic.claude-sonnet-4-20250514-v1:0")
    (explored,) = read("bedrock", tmp_path, EXPLORER)
    assert (explored.day, explored.kind, explored.cost_usd) == (DAY, "output", Decimal("1.2345678901"))
    assert fingerprint(explored.model) == fingerprint("amazon.nova-pro-v1:0")


def test_azure_meters_are_read_for_model_kind_and_tokens(tmp_path: Path) -> None:
    lines = read("azure", tmp_path, AZURE)
    assert [(x.day, x.kind, x.tokens, x.cost_usd) for x in lines] == [
        (DAY, "cached_input", 80_000, Decimal("0.10")),
        (DAY, "input", 400_000, Decimal("1.00")),
        (DAY, "output", 30_000, Decimal("0.30")),
    ]
    assert {fingerprint(x.model) for x in lines} == {fingerprint("gpt-4o")}


def test_google_skus_with_their_credits_as_json_lines_and_as_csv(tmp_path: Path) -> None:
    line, credit = sorted(read("google", tmp_path, GOOGLE), key=lambda x: x.charge)
    assert (line.day, line.kind, line.tokens, line.cost_usd) == (DAY, "input", 1_000_000, Decimal("1.25"))
    assert (credit.charge, credit.model, credit.cost_usd) == (CREDIT, "promo", Decimal("-0.25"))
    assert fingerprint(line.model) == fingerprint("gemini-2.5-pro")
    (flat,) = read("google", tmp_path, GOOGLE_CSV)
    assert (flat.kind, flat.cost_usd, fingerprint(flat.model)) == (
        "output",
        Decimal("0.4"),
        fingerprint("gemini-2.0-flash"),
    )


def test_a_line_item_without_a_models_id_is_a_fee(tmp_path: Path) -> None:
    for item in ("moderation", "web search tool calls", "assistants api | file search"):
        content = bucket(amount={"value": "1.5", "currency": "usd"}, line_item=item)
        assert [(x.model, x.charge) for x in read("openai", tmp_path, content)] == [(item, FEE)]


def test_any_csv_by_a_mapping_and_names_mapped_for_every_reader(tmp_path: Path) -> None:
    mapping = parse_mapping(
        {
            "columns": {
                "day": "When",
                "model": "What",
                "kind": "Meter",
                "cost": "Cents",
                "tokens": "K",
                "requests": "N",
            },
            "cost_unit": "cents",
            "tokens_per_unit": 1000,
            "kinds": {"Answer": "output"},
            "models": {"Big (EU)": "gpt-4o"},
        },
        "map.yaml",
    )
    text = "When,What,Meter,Cents,K,N\n2026-10-03,Big (EU),Answer,12.5,3,7\n"
    assert read("other", tmp_path, text, mapping=mapping) == [
        Line(DAY, "gpt-4o", "output", Decimal("0.125"), 3000, 7)
    ]
    renamed = ColumnMap(models={"gpt-4o-2024-08-06": "house-model"})
    assert {x.model for x in read("openai", tmp_path, OPENAI_COSTS, mapping=renamed)} == {"house-model"}


@pytest.mark.parametrize(
    ("provider", "content", "says"),
    [
        ("openai", {**OPENAI_COSTS, "has_more": True}, "has_more: is true: pages are missing"),
        ("openai", bucket(amount={"value": 1, "currency": "eur"}, line_item="x"), "give --rate EUR=RATE"),
        ("openai", bucket(amount={"value": 1, "currency": "usd"}), "group_by=line_item"),
        ("openai", {"data": [{"results": 3}]}, "is no export of openai that is known"),
        ("openai", "not a csv", "neither JSON nor a CSV"),
        ("openai", '{"start_time": 1790985600}\n{"b"', "file0:2: not JSON"),
        ("openai", "start_time,amount_value,line_item\n2026-10-03,much,x\n", "file0:2: amount: 'much' is not a number"),
        ("openai", "start_time,amount_value,line_item\nonce,1,x\n", "file0:2: start_time: 'once' is not a date"),
        ("openai", bucket(amount={"value": 2e10, "currency": "usd"}, line_item="x"),
         "amount: 20000000000.0 is more than a ledger's month can hold (9,007,199 USD)"),
        ("anthropic", bucket(output_tokens=4), "group by model"),
        ("bedrock", "a,b\n1,2\n", "give a Cost and Usage Report"),
        ("azure", AZURE.replace("USD", "EUR"), "is in EUR, and the file has no rate to USD; give --rate EUR=RATE"),
        ("google", '{"cost": 1}', "sku.description"),
        ("other", "a,b\n1,2\n", "give --map FILE"),
    ],
)  # fmt: skip
def test_what_can_not_be_read_is_named_with_what_to_do(
    provider: str, content: object, says: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError) as e:
        read(provider, tmp_path, content)
    assert says in str(e.value)


def test_a_mapping_is_checked_whole() -> None:
    with pytest.raises(ConfigurationError) as e:
        parse_mapping(
            {"columns": {"day": "x"}, "cost_unit": "dm", "tokens_per_unit": 0, "kinds": {"a": "b"}, "z": 1},
            "m",
        )
    assert {f.field for f in e.value.faults} == {
        "columns.model",
        "cost_unit",
        "tokens_per_unit",
        "kinds",
        "z",
    }


@pytest.mark.parametrize(
    ("meter", "kind", "model"),
    [
        ("USE1-Claude4.5Sonnet-cache-read-input-token-count", "cached_input", "claude-sonnet-4-5"),
        ("USW2-Claude4.5Haiku-cache-write-input-token-count", "cache_write_5m", "claude-haiku-4-5"),
        ("gpt 4o mini 0718 Outp glbl Tokens", "output", "gpt-4o-mini"),
        ("gpt-4.1-mini-Inp-DataZone Tokens", "input", "gpt-4.1-mini"),
        ("Gemini 2.5 Pro Thinking Text Output - Predictions", "reasoning", "gemini-2.5-pro"),
        ("Claude Sonnet 4 Usage - Output Tokens", "output", "claude-sonnet-4"),
    ],
)
def test_a_meters_name_tells_kind_and_model(meter: str, kind: str, model: str) -> None:
    assert kind_of(meter) == kind
    assert fingerprint(model_of(meter.split(" - Pred")[0])) == fingerprint(model)


def test_different_models_have_different_fingerprints() -> None:
    names = ("gpt-4o", "gpt-4o-mini", "gpt-4", "gpt-4.1", "gpt-4.1-mini", "o1", "o3", "o3-mini", "claude-opus-4-1",
             "claude-opus-4", "claude-sonnet-4-5", "claude-haiku-4-5", "gemini-2.5-pro", "gemini-2.5-flash",
             "text-embedding-3-small", "text-embedding-3-large", "amazon.nova-pro-v1:0",
             "amazon.nova-lite-v1:0")  # fmt: skip
    assert len({fingerprint(n) for n in names}) == len(names)
    assert fingerprint("us.anthropic.claude-3-5-sonnet-20241022-v2:0") == fingerprint(
        "claude-3-5-sonnet-latest"
    )


def test_whose_model_it_is() -> None:
    assert [is_of(p, "gpt-4o") for p in ("openai", "azure", "anthropic", "bedrock")] == [
        True,
        True,
        False,
        False,
    ]
    assert is_of("anthropic", "claude-sonnet-4-5") and not is_of("anthropic", "anthropic.claude-3-haiku-v1:0")
    assert is_of("bedrock", "us.anthropic.claude-sonnet-4-20250514-v1:0") and not is_of("bedrock", "gpt-4.1")
    assert is_of("other", "house-7b", ("house-*",)) and not is_of("openai", "gpt-4o", ("gpt-4.1*",))


@pytest.mark.parametrize(
    "text", ["2026-10-03", "10/03/2026", "2026-10-02T20:00:00-05:00", "2026-10-03 07:00:00 UTC", str(START)]
)
def test_a_day_in_any_form_is_utc(text: str) -> None:
    assert day_of(text, "mdy") == DAY
