"""Model patterns: an exact name or a glob (`*`, `?`, `[abc]`); the most specific wins.

A pattern covers a model if it matches any of the names that the model is known by (`pricing.aliases`), in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import field
from fnmatch import translate
from typing import Protocol, TypeVar

from spendgate.pricing.aliases import bare
from spendgate.values import dataclass

_WILDCARD = re.compile(r"[*?\[]")


def is_glob(text: str) -> bool:
    """Does a name hold a wildcard?"""
    return _WILDCARD.search(text) is not None


@dataclass(frozen=True, slots=True)
class ModelPattern:
    """A compiled pattern. `text` is as written; two patterns are equal if their texts are."""

    text: str
    exact: bool
    prefix: str
    regex: re.Pattern[str] = field(compare=False, repr=False)
    folded: re.Pattern[str] = field(compare=False, repr=False)
    """The same, whatever the case."""

    @classmethod
    def of(cls, text: str) -> ModelPattern:
        """Compile a pattern."""
        wildcard = _WILDCARD.search(text)
        prefix = text[: wildcard.start()] if wildcard else text
        glob = translate(text) if wildcard else rf"{re.escape(text)}\Z"
        return cls(
            text, wildcard is None, prefix, re.compile(translate(text)), re.compile(glob, re.IGNORECASE)
        )

    def matches(self, model: str) -> bool:
        """Does the pattern cover this model?"""
        if self.exact:
            return model == self.text
        return model.startswith(self.prefix) and self.regex.match(model) is not None

    def covers(self, names: Iterable[str]) -> bool:
        """Does the pattern match any of a model's names, in any case?"""
        return any(self.folded.match(name) is not None for name in names)

    @property
    def specificity(self) -> tuple[bool, int, int]:
        """Sorts patterns: exact first, then the longest literal prefix, then the longest text."""
        return (self.exact, len(self.prefix), len(self.text))


def is_team_glob(name: str) -> bool:
    """Does a name mean several teams? Only `*` and `?` are wildcards: names of teams may hold brackets."""
    return "*" in name or "?" in name


def team_pattern(name: str) -> ModelPattern:
    """The pattern of a team's name, or of a glob of teams."""
    if not is_team_glob(name):
        exact = re.compile(rf"{re.escape(name)}\Z")
        return ModelPattern(name, True, name, exact, exact)
    regex = re.compile(translate(name.replace("[", "[[]")))
    return ModelPattern(name, False, re.split(r"[*?]", name, maxsplit=1)[0], regex, regex)


class HasPattern(Protocol):
    """Anything that applies to the models of a pattern."""

    @property
    def pattern(self) -> ModelPattern: ...


_P = TypeVar("_P", bound=HasPattern)


def most_specific_first(items: Iterable[_P]) -> tuple[_P, ...]:
    """Sort by specificity; equals keep their order."""
    return tuple(sorted(items, key=lambda item: item.pattern.specificity, reverse=True))


def best_match(items: Iterable[_P], model: str, names: Sequence[str]) -> _P | None:
    """The item whose pattern covers the model most specifically, the first of equals. `names`: all that the model is
    known by. An exact pattern counts as such where it is the model's own name, however spelled; where it is only the
    name without a date, or what a deployment stands for, it counts as a glob that begins so."""
    covering = [item for item in items if item.pattern.covers(names)]
    if len(covering) < 2:
        return covering[0] if covering else None
    own = bare(model)

    def rank(item: _P) -> tuple[bool, int, int]:
        exact, prefix, text = item.pattern.specificity
        return exact and bare(item.pattern.text) == own, prefix, text

    return max(covering, key=rank)
