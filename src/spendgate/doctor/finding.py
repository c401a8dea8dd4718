"""What the doctor found: one thing, how bad it is, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Literal

from spendgate.values import dataclass

Severity = Literal["error", "warning", "info"]
ORDER: tuple[Severity, ...] = ("error", "warning", "info")


@dataclass(frozen=True, slots=True)
class Finding:
    """`code` never changes its meaning; `where` names the part (a cluster, a team, a file)."""

    severity: Severity
    code: str
    where: str
    problem: str
    fix: str

    def row(self) -> dict[str, str]:
        """As JSON prints it."""
        return asdict(self)


def error(code: str, where: str, problem: str, fix: str) -> Finding:
    """Budgets do not hold, or traffic breaks."""
    return Finding("error", code, where, problem, fix)


def warning(code: str, where: str, problem: str, fix: str) -> Finding:
    """It holds now, and will not under load, after a fault or against a person who means harm."""
    return Finding("warning", code, where, problem, fix)


def info(code: str, where: str, problem: str, fix: str) -> Finding:
    """Worth knowing; may be meant."""
    return Finding("info", code, where, problem, fix)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """The worst first, each once."""
    unique = dict.fromkeys(findings)
    return sorted(unique, key=lambda f: (ORDER.index(f.severity), f.code, f.where))
