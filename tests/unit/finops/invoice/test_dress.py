"""An export reads whatever dress it comes in; what could be two things is asked about, never guessed."""

from __future__ import annotations

import bz2
import contextlib
import gzip
import io
import zipfile
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from spendgate.errors import ConfigurationError
from spendgate.finops.invoice import numbers
from spendgate.finops.invoice.collect import Invoice
from spendgate.finops.invoice.line import CREDIT, FEE
from spendgate.finops.invoice.mapped import ColumnMap, parse_mapping
from spendgate.finops.invoice.registry import read_files

COLUMNS = {"day": "Tag", "model": "Was", "kind": "Art", "cost": "Netto", "tokens": "Menge"}
PLAIN = "Tag,Was,Art,Netto,Menge\n2026-10-03,gpt-4o,input,1234.5678,1000000\n2026-10-04,gpt-4o,output,0.25,25000\n"
GERMAN = "Tag;Was;Art;Netto;Menge\n03.10.2026;gpt-4o;input;1.234,5678;1.000.000\n04.10.2026;gpt-4o;output;0,25;25.000\n"


def mapping(**more: object) -> ColumnMap:
    return parse_mapping({"columns": COLUMNS, **more}, "map")


def read(tmp_path: Path, *contents: str | bytes, of: ColumnMap | None = None, provider: str = "other",
         **how: object) -> Invoice:  # fmt: skip
    paths = []
    for i, content in enumerate(contents):
        path = tmp_path / f"file{i}"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        paths.append(path)
    return read_files(provider, paths, of or mapping(), **how)  # type: ignore[arg-type]


def zipped(data: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("export.csv", data)
    return out.getvalue()


DRESSES: dict[str, str | bytes] = {
    "plain": PLAIN,
    "a mark of UTF-8, and Windows' lines": b"\xef\xbb\xbf" + PLAIN.replace("\n", "\r\n").encode(),
    "UTF-16": PLAIN.encode("utf-16"),
    "UTF-16 without a mark": PLAIN.encode("utf-16-le"),
    "Windows' Latin": ("Rechnung für Müller\n\n" + PLAIN).encode("cp1252"),
    "tabs": PLAIN.replace(",", "\t"),
    "semicolons": PLAIN.replace(",", ";"),
    "bars": PLAIN.replace(",", "|"),
    "a separator's line": "sep=;\n" + PLAIN.replace(",", ";"),
    "German": GERMAN,
    "signs and thousands": PLAIN.replace("1234.5678", '"$1,234.5678"').replace("1000000", '"1,000,000"'),
    "blanks for thousands": PLAIN.replace("1234.5678", "1 234.5678 USD").replace("1000000", "1 000 000"),
    "a preamble": "Acme Inc.\nInvoice for,October 2026\n\n" + PLAIN,
    "totals": PLAIN + "Total,,,1234.8178,1025000\n,,Sum,1234.8178,\n",
    "remarks below": PLAIN + "\n* The costs do not include tax\nAmounts may still change,,,,\n",
    "gzip": gzip.compress(PLAIN.encode()),
    "bzip2": bz2.compress(PLAIN.encode()),
    "zstd": zstandard.ZstdCompressor().compress(PLAIN.encode()),
    "zip": zipped(PLAIN.encode()),
}


@pytest.mark.parametrize("dress", DRESSES)
def test_a_csv_in_any_usual_dress_is_the_same_invoice(dress: str, tmp_path: Path) -> None:
    found = read(tmp_path, DRESSES[dress])
    assert [(x.day, x.model, x.kind, x.cost_usd, x.tokens) for x in found.lines] == [
        ("20261003", "gpt-4o", "input", Decimal("1234.5678"), 1_000_000),
        ("20261004", "gpt-4o", "output", Decimal("0.25"), 25_000),
    ]


@pytest.mark.parametrize("dress", ["gzip", "bzip2", "zstd", "zip"])
def test_a_packed_file_that_is_damaged_says_so_wherever_it_is(dress: str, tmp_path: Path) -> None:
    packed = DRESSES[dress]
    assert isinstance(packed, bytes)
    for place in range(4, len(packed)):
        for flip in (0xFF, 0x10):
            damaged = packed[:place] + bytes([packed[place] ^ flip]) + packed[place + 1 :]
            with contextlib.suppress(ConfigurationError):  # or what was damaged says nothing of the rows
                assert len(read(tmp_path, damaged).lines) <= 2


def test_parquet_reads_as_its_csv_does(tmp_path: Path) -> None:
    table = pa.table({
        "line_item_usage_type": ["USE1-NovaLite-input-tokens"], "line_item_product_code": ["AmazonBedrock"],
        "line_item_line_item_type": ["Usage"],
        "line_item_usage_start_date": [pa.scalar(1_791_000_000, pa.timestamp("s"))],
        "line_item_usage_amount": [12.5], "line_item_unblended_cost": [0.00075], "pricing_unit": ["1K tokens"],
        "product": pa.array([[("product_name", "Amazon Bedrock")]], pa.map_(pa.string(), pa.string())),
    })  # fmt: skip
    out = io.BytesIO()
    pq.write_table(table, out)
    (line,) = read(tmp_path, out.getvalue(), of=ColumnMap(), provider="bedrock").lines
    assert (line.model, line.kind, line.cost_usd, line.tokens) == (
        "nova-lite",
        "input",
        Decimal("0.00075"),
        12_500,
    )


def test_a_date_that_could_be_two_is_asked_about_and_read_as_told(tmp_path: Path) -> None:
    content = "Tag,Was,Art,Netto,Menge\n03/10/2026,gpt-4o,input,1,1\n"
    with pytest.raises(ConfigurationError, match=r"could be two days.*--dates dmy or --dates mdy"):
        read(tmp_path, content)
    assert read(tmp_path, content, dates="dmy").lines[0].day == "20261003"
    assert read(tmp_path, content, dates="mdy").lines[0].day == "20260310"
    assert read(tmp_path, content, of=mapping(dates="dmy")).lines[0].day == "20261003"
    proven = content + "25/10/2026,gpt-4o,input,1,1\n"
    assert [x.day for x in read(tmp_path, proven).lines] == ["20261003", "20261025"]


def test_numbers_that_could_be_two_are_asked_about(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'1\.234' could be two numbers"):
        read(tmp_path, "Tag;Was;Art;Netto;Menge\n2026-10-03;gpt-4o;input;1.234;10\n")


def test_wide_tables_name_a_column_a_kind(tmp_path: Path) -> None:
    wide = parse_mapping(
        {"columns": {"day": "Date", "model": "Model", "cost": "Cost", "requests": "Calls",
                     "tokens": {"input": "Prompt", "output": "Completion"}}}, "map")  # fmt: skip
    found = read(
        tmp_path, "Date,Model,Cost,Calls,Prompt,Completion\n2026-10-03,gpt-4o,0.5,7,900,40\n", of=wide
    ).lines
    assert {x.kind: x.tokens for x in found if x.tokens} == {"input": 900, "output": 40}
    assert (sum(x.cost_usd for x in found), sum(x.requests for x in found)) == (Decimal("0.5"), 7)
    with pytest.raises(ConfigurationError, match=r"columns\.tokens"):
        parse_mapping({"columns": {**COLUMNS, "tokens": {"words": "Menge"}}}, "map")


@pytest.mark.parametrize("changed", ["", "2026-10-05,gpt-4o,input,7,7\n"])
def test_rows_that_another_file_has_are_left_out_and_said(changed: str, tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN, PLAIN + changed)
    assert sum(x.cost_usd for x in found.lines) == Decimal("1234.8178") + (7 if changed else 0)
    assert [n.split(": ", 1)[1] for n in found.notes] == [
        "2 rows are the same as in a file before it; these duplicates are left out"
    ]


def test_a_row_with_an_id_counts_once_and_exchanges_alike_count_each(tmp_path: Path) -> None:
    row = "li7,Usage,2026-10-03T00:00:00Z,AmazonBedrock,USE1-NovaLite-input-tokens,3,0.5,1K tokens\n"
    head = (
        "identity_line_item_id,line_item_line_item_type,line_item_usage_start_date,line_item_product_code,"
        "line_item_usage_type,line_item_usage_amount,line_item_unblended_cost,pricing_unit\n"
    )
    once = read(tmp_path, head + row + row, of=ColumnMap(), provider="bedrock")
    assert (once.lines[0].cost_usd, once.notes[0].split(": ")[1][:22]) == (
        Decimal("0.5"),
        "1 rows stand in it twi",
    )
    alike = "Tag,Was,Art,Netto,Menge\n" + "2026-10-03,gpt-4o,input,1,10\n" * 3
    assert read(tmp_path, alike).lines[0].cost_usd == 3


def test_currencies_have_the_files_own_rate_or_the_one_that_is_given(tmp_path: Path) -> None:
    google = (
        '{"service": {"description": "Vertex AI"}, "sku": {"description": "Gemini 2.5 Pro Text Input - Predictions"}, '
        '"usage_start_time": "2026-10-03 07:00:00 UTC", "cost": 0.88, "currency": "EUR", '
        '"currency_conversion_rate": 0.88, "usage": {"amount": 800000, "unit": "count"}, "credits": []}'
    )  # fmt: skip
    found = read(tmp_path, google, of=ColumnMap(), provider="google")
    assert found.lines[0].cost_usd == 1
    assert "EUR is taken at the rate of each line" in found.notes[0]
    azure = (
        "Date,MeterCategory,MeterName,UnitOfMeasure,Quantity,CostInBillingCurrency,BillingCurrencyCode\n"
        "10/13/2026,Foundry Models,gpt 4o 1120 Inp glbl Tokens,1K,400,0.88,EUR\n"
    )
    with pytest.raises(ConfigurationError, match=r"is in EUR, .*give --rate EUR=RATE"):
        read(tmp_path, azure, of=ColumnMap(), provider="azure")
    (line,) = read(tmp_path, azure, of=ColumnMap(), provider="azure", rates={"EUR": Decimal("1.25")}).lines
    assert line.cost_usd == Decimal("1.1000")


FOCUS = (
    "BilledCost,BillingCurrency,ChargeCategory,ChargeClass,ChargePeriodStart,ConsumedQuantity,ConsumedUnit,"
    "{provider},ServiceCategory,ServiceName,SkuMeter,ChargeDescription\n"
    "1.25,USD,Usage,,2026-10-03T00:00:00Z,500000,Tokens,Microsoft,AI and Machine Learning,Azure OpenAI,"
    "5.4 inp Gl 1M Tokens,\n"
    "2.5,USD,Usage,,2026-10-03T00:00:00Z,1000,Tokens,Amazon Web Services,AI and Machine Learning,"
    "Claude Haiku 4.5 (Amazon Bedrock Edition),USE1-MP:USE1_OutputTokenCount-Units,\n"
    "-3,USD,Credit,,2026-10-03T00:00:00Z,,,Microsoft,AI and Machine Learning,Azure OpenAI,,Promotional credit\n"
    "9,USD,Usage,,2026-10-03T00:00:00Z,,,Microsoft,Storage,Blob Storage,LRS Data Stored,\n"
)


@pytest.mark.parametrize("column", ["ProviderName", "ServiceProviderName"])
def test_focus_of_several_clouds_is_read_whole_or_for_one(column: str, tmp_path: Path) -> None:
    content = FOCUS.format(provider=column)
    whole = read(tmp_path, content, of=ColumnMap(), provider="focus")
    assert {(x.model, x.kind, x.charge, x.cost_usd) for x in whole.lines} == {
        ("gpt-5.4", "input", "", Decimal("1.25")),
        ("claude-haiku-4.5", "output", "", Decimal("2.5")),
        ("Promotional credit", "", CREDIT, Decimal(-3)),
    }
    assert whole.vendors == {"azure", "bedrock"}
    one = read(tmp_path, content, of=ColumnMap(), provider="azure")
    assert {x.cost_usd for x in one.lines} == {Decimal("1.25"), Decimal(-3)}


def test_googles_console_report_and_openrouters_activity(tmp_path: Path) -> None:
    console = (
        "Date,Service description,SKU description,Usage amount,Usage unit,Cost ($),Unrounded subtotal ($)\n"
        '2026-10-03,Gemini API,Generate content input token count gemini 3 flash text,"306,894",count,0.15,0.153447\n'
        ",,,,,Subtotal,0.15\n"
    )
    (line,) = read(tmp_path, console, of=ColumnMap(), provider="google").lines
    assert (line.model, line.tokens, line.cost_usd) == ("gemini-3-flash", 306_894, Decimal("0.153447"))
    activity = (
        "Date,Slug,Usage,Requests,Prompt Tokens,Completion Tokens\n2026-10-03,openai/gpt-4o,0.5,3,1000,20\n"
    )
    found = read(tmp_path, activity, of=ColumnMap(), provider="openrouter").lines
    assert {x.kind: (x.cost_usd, x.tokens, x.requests) for x in found} == {
        "": (Decimal("0.5"), 0, 3), "input": (0, 1000, 0), "output": (0, 20, 0),
    }  # fmt: skip


def test_days_without_use_are_covered_and_bill_nothing(tmp_path: Path) -> None:
    content = (
        "start_time,end_time,amount_value,amount_currency,line_item\n"
        "2026-10-30,2026-10-31,0.5,usd,\"gpt-4o-2024-08-06, input\"\n2026-10-31,2026-11-01,,,\n"
        "2026-10-30,2026-10-31,0.02,usd,web search tool calls\n"
    )  # fmt: skip
    found = read(tmp_path, content, of=ColumnMap(), provider="openai")
    assert (found.first, found.last) == ("20261030", "20261031")
    assert {(x.model, x.charge) for x in found.lines} == {
        ("gpt-4o-2024-08-06", ""),
        ("web search tool calls", FEE),
    }


@given(st.decimals(-(10**7), 10**7, places=4), st.sampled_from([".", ","]))
def test_law_a_number_is_read_as_it_was_written(amount: Decimal, sign: str) -> None:
    grouped = f"{amount:,.4f}"
    written = grouped if sign == "." else grouped.translate(str.maketrans(",.", ".,"))
    assert numbers.parse(written, sign) == amount
    assert numbers.evidence(written) in (sign, "")


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("(12.50)", "-12.5"), ("12.50-", "-12.5"), ("$-3", "-3"), ("3e-7", "3E-7"), ("0E-6176", "0"),
        ("1'234.5", "1234.5"), ("€ 2.5", "2.5"),
    ],
)  # fmt: skip
def test_odd_spellings_of_a_number(text: str, number: str) -> None:
    assert numbers.parse(text) == Decimal(number)


def test_a_file_that_holds_itself_twice_counts_once_though_some_rows_prove_nothing(tmp_path: Path) -> None:
    head = "Date,MeterCategory,MeterName,UnitOfMeasure,Quantity,CostInBillingCurrency,BillingCurrencyCode\n"
    telling = [
        f"10/{d}/2026,Foundry Models,gpt 4o 1120 Inp glbl Tokens,1K,{d}.123456,0.5,USD\n"
        for d in range(13, 20)
    ]
    plain = "10/20/2026,Foundry Models,gpt 4o 1120 Inp glbl Tokens,1K,2,0.5,USD\n"
    twice = read(tmp_path, head + "".join([*telling, plain] * 2), of=ColumnMap(), provider="azure")
    assert sum(x.cost_usd for x in twice.lines) == 4
    assert "8 rows stand in it twice" in twice.notes[0]
    alike = read(tmp_path, head + plain * 2, of=ColumnMap(), provider="azure")
    assert (sum(x.cost_usd for x in alike.lines), alike.notes) == (1, ())
