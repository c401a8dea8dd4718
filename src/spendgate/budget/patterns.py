"""Model patterns: an exact name or a glob (`*`, `?`, `[abc]`), case-sensitive; the most specific wins."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from typing import Protocol, TypeVar

_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True, slots=True)
class ModelPattern:
    """A compiled pattern. `text` is as written; two patterns are equal if their texts are."""

    text: str
    exact: bool
    prefix: str
    regex: re.Pattern[str] = field(compare=False, repr=False)

    @classmethod
    def of(cls, text: str) -> ModelPattern:
        """Compile a pattern."""
        wildcard = _WILDCARD.search(text)
        prefix = text[: wildcard.start()] if wildcard else text
        return cls(text, wildcard is None, prefix, re.compile(translate(text)))

    def matches(self, model: str) -> bool:
        """Does the pattern cover this model?"""
        if self.exact:
            return model == self.text
        return model.startswith(self.prefix) and self.regex.match(model) is not None

    @property
    def specificity(self) -> tuple[bool, int, int]:
        """Sorts patterns: exact first, then the longest literal prefix, then the longest text."""
        return (self.exact, len(self.prefix), len(self.text))


class HasPattern(Protocol):
    """Anything that applies to the models of a pattern."""

    @property
    def pattern(self) -> ModelPattern: ...


_P = TypeVar("_P", bound=HasPattern)


def most_specific_first(items: Iterable[_P]) -> tuple[_P, ...]:
    """Sort by specificity; equals keep their order."""
    return tuple(sorted(items, key=lambda item: item.pattern.specificity, reverse=True))


def first_match(items: Iterable[_P], model: str) -> _P | None:
    """The first item whose pattern matches (sort with `most_specific_first` before)."""
    return next((item for item in items if item.pattern.matches(model)), None)
