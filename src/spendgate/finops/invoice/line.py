"""A line of an invoice, and the rows of the files that they come in. Pure.

Providers bill by their own names: `gpt-4o-2024-08-06, cached input`, `USE1-Claude3.5Sonnet-output-tokens`,
`gpt 4o 0806 Inp glbl Tokens`. `kind_of` reads the kind out of such a text and `model_of` what is left of it;
`fingerprint` is equal for names of one model however they are written.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from spendgate.errors import ConfigurationError, Fault

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One model's (and kind's) charge of a day. `day` is `YYYYMMDD` as the provider cuts days; `kind` "" where
    the file does not tell; `tokens` and `requests` 0 where it does not; `cost_usd` 0 in a file of usage alone."""

    day: str
    model: str
    kind: str = ""
    cost_usd: Decimal = Decimal(0)
    tokens: int = 0
    requests: int = 0


class BadInvoice(ConfigurationError):
    """A file that is not what its provider writes."""

    def __init__(self, where: str, line: int, field: str, problem: str, remedy: str) -> None:
        super().__init__([Fault(where, line, field, problem, remedy)])


def rows_of(data: bytes, where: str) -> list[tuple[int, Row]]:
    """(number, row) of a file: a CSV with a head, a JSON document, or JSON lines. A JSON document is one row."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as e:
        raise BadInvoice(where, 0, "", f"is not UTF-8 text: {e}", "give the export as it was downloaded") from e
    if text.lstrip()[:1] in ("{", "["):
        return _json_rows(text, where)
    reader = csv.DictReader(io.StringIO(text))
    if not reader.fieldnames or len(reader.fieldnames) < 2:
        raise BadInvoice(where, 1, "", "is neither JSON nor a CSV with a head", "give the export as it was downloaded")
    return [(reader.line_num, {k: v for k, v in row.items() if k is not None}) for row in reader]


def _json_rows(text: str, where: str) -> list[tuple[int, Row]]:
    try:
        document = json.loads(text, parse_float=Decimal)
        found = document if isinstance(document, list) else [document]
        numbered = [(0, row) for row in found]
    except json.JSONDecodeError as whole:
        numbered = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.strip():
                try:
                    numbered.append((number, json.loads(line, parse_float=Decimal)))
                except json.JSONDecodeError as e:
                    problem = e if number > 1 else whole
                    raise BadInvoice(where, number, "", f"not JSON: {problem}", "mend or take the line out") from e
    for number, row in numbered:
        if not isinstance(row, dict):
            raise BadInvoice(where, number, "", "is not an object", "give the export as it was downloaded")
    return numbered


def amount(value: Any, where: str, line: int, field: str) -> Decimal:
    """An exact amount. Raises BadInvoice."""
    try:
        found = Decimal(str(value).strip() or "0")
    except InvalidOperation:
        found = Decimal("NaN")
    if not found.is_finite():
        raise BadInvoice(where, line, field, f"{value!r} is not a number", "mend it")
    return found


def count(value: Any, where: str, line: int, field: str) -> int:
    """A whole count; a missing one is 0. Raises BadInvoice."""
    if value is None or value == "":
        return 0
    return int(amount(value, where, line, field).to_integral_value())


_DAYS = ("%Y-%m-%d", "%m/%d/%Y", "%Y%m%d", "%Y/%m/%d", "%d.%m.%Y")


def day_of(value: Any, where: str, line: int, field: str) -> str:
    """The day (`YYYYMMDD`) of a date, an ISO time (taken to UTC), or Unix seconds. Raises BadInvoice."""
    text = str(value).strip()
    if re.fullmatch(r"\d{9,11}", text):
        return datetime.fromtimestamp(int(text), UTC).strftime("%Y%m%d")
    for form in _DAYS:
        try:
            return datetime.strptime(text, form).strftime("%Y%m%d")
        except ValueError:
            continue
    try:
        at = datetime.fromisoformat(text.replace(" UTC", "+00:00"))
    except ValueError as e:
        raise BadInvoice(where, line, field, f"{value!r} is not a date", "write it as YYYY-MM-DD") from e
    return (at.astimezone(UTC) if at.tzinfo else at).strftime("%Y%m%d")


_KINDS = (
    # the first that matches; cache writes before reads, both before plain input
    (r"cache[ _-]?(write|creat\w*).*1[ _-]?h|1h.*cache", "cache_write_1h"),
    (r"cache[ _-]?(write|wrt|creat\w*)|cch wr", "cache_write_5m"),
    (r"cached|cache[ _-]?(read|hit)|cchd|\bcache\b", "cached_input"),
    (r"audio.*out|out\w*.*audio|audio output", "output_audio"),
    (r"audio", "input_audio"),
    (r"image.*out|out\w*.*image", "output_image"),
    (r"reason|thinking|thought", "reasoning"),
    (r"out(p|put|pt)?\b|output|completion|response|opt\b", "output"),
    (r"inp(ut)?\b|input|prompt|\bin\b", "input"),
    (r"search", "searches"),
)


def kind_of(text: str) -> str:
    """The kind that a meter's name speaks of; "" where it names none."""
    words = re.sub(r"[-_,|/()]+", " ", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text)).lower()
    return next((kind for pattern, kind in _KINDS if re.search(pattern, words)), "")


_NOISE = frozenset(
    re.findall(
        r"\w+",
        """input inp inputs output outp outputs outpt opt cached cache cch cchd read write wr wrt hit creation tokens
        token text image audio video count units unit glbl global regnl regional region zone data dz datazone batch
        standard std prompt response completion completions predictions prediction online thinking thought reasoning
        per 1k 1m flex priority latency optimized cross usage on demand ondemand api azure openai amazon edition
        bedrock anthropic meta mistral cohere models vertex google ai pay as you go non in short long context 5m 1h
        ephemeral""",
    )
)
_REGION = re.compile(r"^(?:[A-Z]{2,4}\d{1,2}|us|eu|apac|global|jp|au)[-_.:](?=.)")
_DATE = re.compile(r"[-_@ ](?:20\d{2}-?\d{2}-?\d{2}|\d{4}(?=\b))|[-_ ]latest\b|[-: ]v\d+(?::\d+)?\s*$")


def model_of(text: str) -> str:
    """A meter's name less its kind, region and other words that name no model."""
    name = _REGION.sub("", text.strip())
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()
    words = [w for w in re.split(r"[\s,|/()_]+|(?<!\d)-|-(?!\d)", name) if w and w not in _NOISE]
    return "-".join(words) or text.strip().lower()


def fingerprint(name: str) -> str:
    """The words and numbers of a model's name in one order, without its date, region, vendor and release."""
    plain = _REGION.sub("", name.strip()).rsplit("/", 1)[-1]
    plain = re.sub(r"^[a-z]+\.(?=[a-z])", "", plain.lower())
    for _ in range(2):  # a release may follow the date
        plain = _DATE.sub(" ", f"{plain} ").strip()
    return " ".join(sorted(w for w in re.findall(r"[a-z]+|\d+", plain) if w not in _NOISE))
