"""What the documentation shows works: budgets are valid, the EnvoyFilter is Envoy's, links lead somewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.extensions.filters.http.ext_proc.v3.ext_proc_pb2 import ExternalProcessor
from google.protobuf.json_format import ParseDict
from support import envoy_messages  # noqa: F401  the messages of all Any values
from support.scripts import load_script

from spendgate.budget.model import LLMBudget
from spendgate.cli.main import COMMANDS
from spendgate.envoy.parts import plain
from spendgate.envoy.processor import ext_proc_filter
from spendgate.settings.config import Settings

ROOT = Path(__file__).parents[3]
README = load_script("readme")
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(kind: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Documents of `kind` in YAML blocks of the pages, and in docs/examples."""
    texts = [(p.name, t) for p in PAGES for t in re.findall(r"```yaml\n(.*?)```", p.read_text(), re.DOTALL)]
    texts += [(p.name, p.read_text()) for p in sorted((ROOT / "docs" / "examples").glob("*.yaml"))]
    for name, text in texts:
        for document in yaml.safe_load_all(text):
            if isinstance(document, dict) and document.get("kind") == kind:
                yield name, document


@pytest.mark.parametrize(("page", "document"), list(blocks("LLMBudget")))
def test_every_budget_shown_is_valid(page: str, document: dict[str, Any]) -> None:
    assert LLMBudget.model_validate(document).spec.team, page


def filter_patches() -> dict[str, dict[str, Any]]:
    ((_, document),) = blocks("EnvoyFilter")
    return {p["applyTo"]: p["patch"]["value"] for p in document["spec"]["configPatches"]}


def without_type(value: dict[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in value.items() if k != "@type"}


def test_the_envoyfilter_shown_is_the_filter_that_up_runs() -> None:
    shown = ParseDict(without_type(filter_patches()["HTTP_FILTER"]["typed_config"]), ExternalProcessor())
    ours = ParseDict(without_type(plain(ext_proc_filter(Settings()))["typed_config"]), ExternalProcessor())
    assert shown.grpc_service.envoy_grpc.cluster_name.startswith("outbound|9002||spendgate.")
    for field in (
        "failure_mode_allow",
        "allow_mode_override",
        "message_timeout",
        "max_message_timeout",
        "processing_mode",
        "mutation_rules",
        "request_attributes",
        "response_attributes",
    ):
        assert getattr(shown, field) == getattr(ours, field), field


def test_the_envoyfilter_shown_lets_bodies_be_as_long_as_spendgate_takes() -> None:
    host = ParseDict(filter_patches()["VIRTUAL_HOST"], VirtualHost())
    assert host.request_body_buffer_limit.value == Settings().max_body_bytes


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?://|#)([^)#]+)", page.read_text())
    assert [t for t in targets if not (page.parent / t).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_shown_exists(page: Path) -> None:
    shown = set(re.findall(r"\.venv/bin/spendgate ([a-z-]+)", page.read_text()))
    assert shown <= set(COMMANDS)


def test_every_make_target_shown_exists() -> None:
    shown = {
        t for p in PAGES for t in re.findall(r"^make ([a-z]+)|`make ([a-z]+)`", p.read_text(), re.MULTILINE)
    }
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {name for pair in shown for name in pair if name} <= targets


def test_what_readme_ends_it_with_leaves_none_of_its_jobs_running(tmp_path: Path) -> None:
    """The same jobs, started, ended and started again in its order, with a sleep in the place of each."""
    job = f"{{ echo {README.READY}; exec sleep 600; }} &"
    jobs = [
        job if line.endswith(" &") else line
        for block in README.blocks()
        for line in block.commands.splitlines()
        if re.match(r"kill |.* &$", line)
    ]
    assert jobs.count(job) == 3
    terminal = README.Terminal(tmp_path, os.environ["PATH"])
    try:
        for line in jobs:
            terminal.run(f"{line}\n")
        assert terminal.run(README.ending())[0] == 0, terminal.text
    finally:
        terminal.close()
