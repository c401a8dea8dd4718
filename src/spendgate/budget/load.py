"""Policies from files and from objects: everything wrong is found at once, with file, line and field."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from spendgate.budget.checks import Finding, contradictions
from spendgate.budget.compile import compile_budget
from spendgate.budget.faults import problem_and_remedy
from spendgate.budget.limit_checks import Group, group_troubles
from spendgate.budget.model import API_VERSION, KIND, LLMBudget
from spendgate.budget.policy import Policy, TeamBudget
from spendgate.budget.yaml_lines import Document, Loc, field_text, read_documents
from spendgate.errors import ConfigurationError, Fault
from spendgate.values import dataclass

SUFFIXES = (".yaml", ".yml")
LIST_KINDS = ("List", KIND + "List")
FILE_BYTES_MAX = 16 * 2**20


@dataclass(frozen=True, slots=True)
class Parsed:
    """One valid budget and where it was written."""

    document: LLMBudget
    source: Document
    base: Loc
    line: int
    team_line: int

    @property
    def path(self) -> str:
        """The file."""
        return self.source.path


def load_policy(paths: Iterable[Path | str]) -> Policy:
    """Read files and folders (their *.yaml and *.yml, not deeper) into one policy.

    Raises ConfigurationError with every fault of every file. A policy without any budget is a fault: it
    would bound nothing, unnoticed.
    """
    faults: list[Fault] = []
    return _policy(_parsed(paths, faults), faults)


def load_documents(paths: Iterable[Path | str]) -> list[LLMBudget]:
    """Read the same files as documents, as they were written. Raises ConfigurationError likewise."""
    faults: list[Fault] = []
    parsed = _parsed(paths, faults)
    _policy(parsed, faults)
    return [p.document for p in parsed]


def _parsed(paths: Iterable[Path | str], faults: list[Fault]) -> list[Parsed]:
    parsed: list[Parsed] = []
    files = policy_files(paths, faults)
    for file in files:
        text = _read(file, faults)
        if text is not None:
            parsed += parse_text(text, str(file), faults)
    if not parsed and not faults:
        where = ", ".join(str(p) for p in files) or "the given paths"
        faults.append(Fault(where, 0, "", "holds no LLMBudget", f"write one with apiVersion {API_VERSION}"))
    return parsed


def parse_documents(text: str, path: str = "<text>") -> list[LLMBudget]:
    """Read the LLMBudgets of a YAML text. Raises ConfigurationError with all faults."""
    faults: list[Fault] = []
    parsed = parse_text(text, path, faults)
    _conflicts(parsed, faults)
    _raise(faults)
    return [p.document for p in parsed]


def policy_from_documents(documents: Sequence[Any], path: str = "<documents>") -> Policy:
    """Compile objects (as the Kubernetes API gives them) into a policy; lines are unknown there.

    Raises ConfigurationError. Who must go on with the valid ones takes `budget_from_document` for each,
    settles conflicts (the older wins) and joins them with `Policy.of`.
    """
    faults: list[Fault] = []
    parsed: list[Parsed] = []
    for i, data in enumerate(documents):
        document = Document(f"{path}[{i}]" if len(documents) > 1 else path, data, 0)
        parsed += _budgets(document, faults)
    return _policy(parsed, faults)


def budget_from_document(document: Any, path: str = "<document>") -> TeamBudget:
    """Compile one object. Raises ConfigurationError with all its faults, contradictions included."""
    faults: list[Fault] = []
    parsed = _budget(Document(path, document, 0), (), document, faults)
    if parsed is None:
        raise ConfigurationError(faults)
    return compile_budget(parsed.document)


def policy_files(paths: Iterable[Path | str], faults: list[Fault]) -> list[Path]:
    """The files that paths mean, each once, in order; what does not exist becomes a fault."""
    files: dict[Path, Path] = {}
    for given in paths:
        path = Path(given)
        if path.is_dir():
            inside = sorted(p for p in path.iterdir() if p.suffix in SUFFIXES and not p.name.startswith("."))
            if not inside:
                faults.append(Fault(str(path), 0, "", "holds no *.yaml or *.yml", "name the policy's folder"))
        elif path.exists():
            inside = [path]
        else:
            faults.append(Fault(str(path), 0, "", "does not exist", "check the path"))
            continue
        for file in inside:
            files.setdefault(file.resolve(), file)
    return list(files.values())


def parse_text(text: str, path: str, faults: list[Fault]) -> list[Parsed]:
    """Read the valid budgets of a YAML text; faults are added to `faults`."""
    documents, yaml_faults = read_documents(text, path)
    faults += yaml_faults
    return [parsed for document in documents for parsed in _budgets(document, faults)]


def _read(file: Path, faults: list[Fault]) -> str | None:
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            faults.append(Fault(str(file), 0, "", "is larger than 16 MiB", "split it into several files"))
            return None
        return file.read_bytes().decode("utf-8-sig")
    except OSError as e:
        faults.append(Fault(str(file), 0, "", f"cannot be read: {e.strerror}", "check its permissions"))
    except UnicodeDecodeError as e:
        faults.append(Fault(str(file), 0, "", f"is not UTF-8 at byte {e.start}", "save it as UTF-8"))
    return None


def _budgets(document: Document, faults: list[Fault]) -> list[Parsed]:
    """The valid budgets of one document, which may be a List of them."""
    data = document.data
    if isinstance(data, dict) and data.get("kind") in LIST_KINDS:
        items = data.get("items")
        if not isinstance(items, list):
            _add(faults, document, ("items",), "is not a list", "give the LLMBudgets under items:")
            return []
        found = [_budget(document, ("items", i), item, faults) for i, item in enumerate(items)]
    else:
        found = [_budget(document, (), data, faults)]
    return [p for p in found if p is not None]


def _budget(document: Document, base: Loc, data: Any, faults: list[Fault]) -> Parsed | None:
    if not isinstance(data, dict):
        _add(faults, document, base, "is not an object", f"write apiVersion: {API_VERSION}, kind, spec")
        return None
    kind = data.get("kind")
    if isinstance(kind, str) and kind != KIND:
        _add(
            faults, document, (*base, "kind"),
            f"is {kind}; only {KIND} documents belong here",
            "keep other objects in other files",
        )  # fmt: skip
        return None
    try:
        budget = LLMBudget.model_validate(data)
    except ValidationError as e:
        for error in e.errors(include_url=False):
            problem, remedy = problem_and_remedy(error["type"], error["loc"], error)
            _add(faults, document, (*base, *error["loc"]), problem, remedy)
        for finding in _despite(data, [error["loc"] for error in e.errors(include_url=False)]):
            _add(faults, document, (*base, "spec", *finding.loc), finding.problem, finding.remedy)
        return None
    found = contradictions(budget.spec)
    for finding in found:
        _add(faults, document, (*base, "spec", *finding.loc), finding.problem, finding.remedy)
    if found:
        return None
    team_line = document.line_of((*base, "spec", "team"))
    return Parsed(budget, document, base, document.line_of(base), team_line)


def _despite(data: Any, faulty: list[Loc]) -> list[Finding]:
    """What else contradicts itself in a document with faulty fields: those are left out and it is read anew."""
    rest = deepcopy(data)
    for loc in faulty:
        at = rest
        for step in loc[:-1]:
            at = at.get(step) if isinstance(at, dict) else None
        if isinstance(at, dict):
            at.pop(loc[-1], None)
        elif len(loc) > 2 and isinstance(rest.get("spec"), dict):
            rest["spec"].pop(loc[1], None)  # within a list: leave the list out
    spec = rest.get("spec")
    if not isinstance(spec, dict):
        return []
    spec.setdefault("team", "-")
    spec.setdefault("monthlyBudgetUSD", 0)
    try:
        return contradictions(LLMBudget.model_validate(rest).spec)
    except ValidationError:
        return []


def _add(faults: list[Fault], document: Document, loc: Loc, problem: str, remedy: str) -> None:
    faults.append(Fault(document.path, document.line_of(loc), field_text(loc), problem, remedy))


def _raise(faults: list[Fault]) -> None:
    if faults:
        raise ConfigurationError(sorted(faults, key=lambda f: (f.path, f.line)))


def _conflicts(parsed: list[Parsed], faults: list[Fault]) -> None:
    first: dict[str, Parsed] = {}
    for p in parsed:
        team = p.document.spec.team
        other = first.setdefault(team, p)
        if other is not p:
            where = f"{other.path}:{other.team_line}" if other.team_line else other.path
            problem = f"team {team} already has a budget in {where}"
            faults.append(Fault(p.path, p.team_line, "spec.team", problem, "keep one of the two"))
    _groups(parsed, faults)


def _groups(parsed: list[Parsed], faults: list[Fault]) -> None:
    """Groups that hold groups, and teams in too many of them."""
    groups = {p.document.spec.team: p for p in parsed if p.document.spec.members is not None}
    if not groups:
        return
    troubles = group_troubles(
        [
            Group(name, p.document.spec.members or (), (p.document.metadata.creation_timestamp, f"{n:06d}"))
            for n, (name, p) in enumerate(groups.items())
        ],
        [p.document.spec.team for p in parsed if p.document.spec.team not in groups],
    )
    for name, (loc, problem, remedy) in troubles.items():
        _add(faults, groups[name].source, (*groups[name].base, "spec", *loc), problem, remedy)


def _policy(parsed: list[Parsed], faults: list[Fault]) -> Policy:
    _conflicts(parsed, faults)
    _raise(faults)
    return Policy.of(compile_budget(p.document) for p in parsed)
