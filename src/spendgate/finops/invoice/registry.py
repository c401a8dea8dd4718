"""Readers by provider, and which metered models are whose. Pure but for reading the files."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

from spendgate.errors import ConfigurationError, Fault
from spendgate.finops.invoice import anthropic, azure, bedrock, google, mapped, openai
from spendgate.finops.invoice.line import BadInvoice, Line, Row, rows_of

Reader = Callable[[list[tuple[int, Row]], str], list[Line]]
READERS: dict[str, Reader] = {
    "openai": openai.read,
    "anthropic": anthropic.read,
    "bedrock": bedrock.read,
    "azure": azure.read,
    "google": google.read,
}
OTHER = "other"
"""A provider whose files are read by a mapping."""
PROVIDERS = (*READERS, OTHER)
_OPENAI = ("gpt-*", "chatgpt-*", "o1*", "o3*", "o4*", "text-embedding-*", "davinci-*", "babbage-*", "dall-e-*",
           "whisper-*", "tts-*", "omni-*", "codex-*", "computer-use-*", "ft:gpt-*")  # fmt: skip
MODELS: dict[str, tuple[str, ...]] = {
    "openai": _OPENAI,
    "azure": (*_OPENAI, "azure/*"),
    "anthropic": ("claude-*",),
    "bedrock": ("*.*-*", "bedrock/*"),
    "google": ("gemini-*", "gemma-*", "text-bison*", "models/gemini-*", "publishers/google/*"),
    OTHER: (),
}
"""Whose models a metered model is, by its name: the ledger keeps no upstream."""
_VENDOR_FIRST = (
    "anthropic.", "amazon.", "meta.", "cohere.", "mistral.", "ai21.", "deepseek.", "us.", "eu.", "apac.", "global.",
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


def read_files(provider: str, paths: Iterable[Path], mapping: mapped.ColumnMap) -> list[Line]:
    """Every line of files of one provider; a mapping with columns is used instead of its reader. Raises
    ConfigurationError."""
    out: list[Line] = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as e:
            raise ConfigurationError([Fault(str(path), 0, "", f"can not be read: {e.strerror}", "")]) from e
        rows = rows_of(data, str(path))
        try:
            if mapping.columns or provider == OTHER:
                out += mapped.read(rows, str(path), mapping)
            else:
                out += READERS[provider](rows, str(path))
        except (KeyError, TypeError, AttributeError) as e:
            raise BadInvoice(
                str(path), 0, "", f"is no export of {provider} that is known ({type(e).__name__}: {e})",
                "give the export as it was downloaded, or read it by --map",
            ) from e  # fmt: skip
    return [replace(x, model=mapping.models.get(x.model, x.model)) for x in out]
