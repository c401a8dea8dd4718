"""Readers by provider, and which metered models are whose. Pure but for reading the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from decimal import Decimal
from fnmatch import fnmatchcase
from pathlib import Path

from spendgate.finops.invoice import (
    anthropic,
    azure,
    bedrock,
    days,
    focus,
    google,
    mapped,
    openai,
    openrouter,
)
from spendgate.finops.invoice.collect import Collector, Invoice
from spendgate.finops.invoice.line import BadInvoice, Line, Row
from spendgate.finops.invoice.source import NoLine, Source
from spendgate.finops.invoice.table import Table
from spendgate.values import dataclass

Lines = Callable[[Row, Source], Iterator[Line]]
PROGRESS_ROWS = 10_000


def _as_it_is(row: Row, _: Source) -> Iterator[Row]:
    yield row


@dataclass(frozen=True, slots=True)
class Reader:
    """How a provider's files are read: a column's one spelling, the rows within a row, and a row's lines."""

    lines: Lines
    column: Callable[[str], str] = str
    flatten: Callable[[Row, Source], Iterator[Row]] = _as_it_is
    order: str = ""
    """That of `03/10/2026` where the file's dates do not prove another."""


READERS: dict[str, Reader] = {
    "openai": Reader(openai.lines, flatten=openai.flatten),
    "anthropic": Reader(anthropic.lines, flatten=anthropic.flatten),
    "bedrock": Reader(bedrock.lines, bedrock.column, bedrock.flatten),
    "azure": Reader(azure.lines, azure.column, order=days.MONTH_FIRST),
    "google": Reader(google.lines, google.column),
    "openrouter": Reader(openrouter.lines, openrouter.column, openrouter.flatten),
    "focus": Reader(focus.lines, focus.column),
}
FOCUS = "focus"
OTHER = "other"
"""A provider whose files are read by a mapping."""
PROVIDERS = (*READERS, OTHER)
BY_NAME = ("openrouter", OTHER, FOCUS)
"""Providers of others' models: a metered model is theirs where their files bill it."""
_OPENAI = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "davinci-*", "babbage-*", "dall-e-*",
           "whisper-*", "tts-*", "omni-*", "codex-*", "computer-use-*", "ft:gpt-*", "ft:o*", "sora-*")  # fmt: skip
MODELS: dict[str, tuple[str, ...]] = {
    "openai": _OPENAI,
    "azure": (*_OPENAI, "azure/*"),
    "anthropic": ("claude-*",),
    "bedrock": ("*.*-*", "bedrock/*"),
    "google": ("gemini-*", "gemma-*", "text-bison*", "models/gemini-*", "publishers/google/*"),
    "openrouter": (),
    FOCUS: (),
    OTHER: (),
}
"""Whose models a metered model is, by its name: the ledger keeps no upstream."""
_VENDOR_FIRST = (
    "anthropic.", "amazon.", "meta.", "cohere.", "mistral.", "ai21.", "deepseek.", "openai.", "qwen.", "zai.", "xai.",
    "moonshotai.", "moonshot.", "minimax.", "nvidia.", "google.", "writer.", "twelvelabs.", "stability.", "luma.",
    "us.", "eu.", "apac.", "ap.", "global.", "us-gov.", "jp.", "au.", "ca.",
)  # fmt: skip


def is_of(provider: str, model: str, globs: Iterable[str] = ()) -> bool:
    """Is a metered model one of this provider's? `globs` replace the built-in names."""
    given = tuple(globs)
    if given:
        return any(fnmatchcase(model, g) for g in given)
    name = model.lower()
    if provider == "bedrock":
        return name.startswith(_VENDOR_FIRST) or name.startswith("bedrock/")
    return any(fnmatchcase(name, g) for g in MODELS[provider])


def read_files(
    provider: str,
    paths: Iterable[Path],
    mapping: mapped.ColumnMap,
    rates: Mapping[str, Decimal] | None = None,
    dates: str = "",
    progress: Callable[[Path, int], None] | None = None,
) -> Invoice:
    """What files of one provider bill; a mapping with columns is used instead of its reader, and a file in FOCUS is
    read as such. `rates`: USD for one unit of a currency; `dates`: the order of `03/10/2026`; `progress` is called
    now and then with the rows read. Raises ConfigurationError."""
    taken = Collector(keep_repeats=bool(mapping.columns or mapping.wide))
    notes: list[str] = []
    vendors: set[str] = set()
    first = last = ""
    for path in paths:
        source = Source(Table(path), rates or {}, dates or mapping.dates)
        reader = _reader(provider, source, mapping)
        money = False
        rows = 0
        try:
            for row in source.rows():
                rows += 1
                if progress is not None and rows % PROGRESS_ROWS == 0:
                    progress(path, rows)
                for part in reader.flatten(row, source):
                    if reader is READERS[FOCUS]:
                        vendor = focus.vendor_of(part)
                        if provider != FOCUS and vendor not in ("", provider):
                            continue  # another cloud's
                        vendors.add(vendor)
                    try:
                        found = [_renamed(x, mapping) for x in reader.lines(part, source)]
                    except NoLine:
                        continue
                    money = money or any(x.amounts and x.cost_usd for x in found)
                    taken.row(part, found, source.table.where)
        except (KeyError, TypeError, AttributeError, IndexError) as e:
            raise BadInvoice(
                str(path), source.number, "", f"is no export of {provider} that is known ({type(e).__name__}: {e})",
                "give the export as it was downloaded, or read it by --map",
            ) from e  # fmt: skip
        taken.file_ends()
        notes += [f"{path}: {code} is taken {how}" for code, how in source.converted.items()]
        if source.table.remarks:
            notes.append(f"{path}: {source.table.remarks} rows are remarks and left out")
        if source.totals:
            notes.append(f"{path}: {source.totals} rows of totals are left out")
        if money and source.first:
            first, last = min(first or source.first, source.first), max(last, source.last)
    lines, quantum = taken.lines()
    return Invoice(lines, quantum, first, last, (*taken.notes(), *notes), frozenset(vendors - {""}))


def _reader(provider: str, source: Source, mapping: mapped.ColumnMap) -> Reader:
    if mapping.columns or mapping.wide:
        return Reader(lambda row, of: mapped.lines(row, of, mapping))
    head = source.table.columns()
    if {focus.column(name) for name in head} >= focus.NEEDED:
        reader = READERS[FOCUS]
    elif provider == OTHER:
        raise BadInvoice(
            source.table.where, 0, "", "needs a mapping of its columns", "give --map FILE with `columns`"
        )
    else:
        reader = READERS[provider]
    source.table.rename(reader.column)
    source.fallback = reader.order
    return reader


def _renamed(line: Line, mapping: mapped.ColumnMap) -> Line:
    name = mapping.models.get(line.model)
    return line if name is None else replace(line, model=name, charge="", exact=True)
