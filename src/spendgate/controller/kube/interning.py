"""One object for equal parts of many documents: of ten thousand budgets most thresholds, limits and conditions
are the same, and as plain JSON they would take more memory than all else. Pure."""

from __future__ import annotations

from typing import Any

KEPT = 20_000
"""Parts known at once; beyond it the cache begins anew, and what is shared already stays shared."""
TEXT_MAX = 200


class Interner:
    """`of` returns equal content that was seen before as the very same object. Nobody may change what it gives."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._texts: dict[str, str] = {}
        self._parts: dict[tuple[Any, ...], Any] = {}

    def fields(self, value: Any) -> Any:
        """An object whose own fields are of one document alone, their values shared."""
        if not isinstance(value, dict):
            return value
        self._make_room()
        return {self._text(k): self._of(v) for k, v in value.items()}

    def _of(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if isinstance(value, dict):
            made: Any = {self._text(k): self._of(v) for k, v in value.items()}
            key: tuple[Any, ...] = ("{", *((k, *_identity(v)) for k, v in made.items()))
        elif isinstance(value, list):
            made = [self._of(v) for v in value]
            key = ("[", *(_identity(v) for v in made))
        else:
            return value
        return self._parts.setdefault(key, made)

    def _text(self, text: str) -> str:
        return self._texts.setdefault(text, text) if len(text) <= TEXT_MAX else text

    def _make_room(self) -> None:
        if len(self._texts) + len(self._parts) > self._kept:
            self._texts, self._parts = {}, {}


def _identity(value: Any) -> tuple[Any, ...]:
    """Equal for equal values of one type; a part that holds others is known by being the same object, which the
    cache keeps alive."""
    if isinstance(value, dict | list):
        return "id", id(value)
    return type(value), value
