"""`spendgate import`: budgets of other gateways as LLMBudgets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from spendgate.migration.drafts import Note

_FILES = click.argument(
    "paths",
    nargs=-1,
    required=True,
    type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
    metavar="FILE…",
)


@click.group("import", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Make LLMBudgets of another gateway's teams, keys and budgets.

    The documents go to stdout. On stderr stands, a line each, what has no equal here, what is said otherwise, and what
    to do besides; read it before you apply. Several files are read together: keys find their teams.

    \b
    Example:
      curl -H "Authorization: Bearer $LITELLM_KEY" $LITELLM/team/list > teams.json
      spendgate import litellm teams.json keys.json config.yaml > budgets.yaml
      spendgate import portkey workspaces.json api-keys.json policies.json > budgets.yaml
    """


@command.command()
@_FILES
def litellm(paths: tuple[Path, ...]) -> None:
    """LiteLLM: /team/list, /key/list?return_full_object=true, /organization/list, config.yaml and others.

    A team's alias is the team, a key's alias the app.

    \b
    Example: spendgate import litellm teams.json keys.json config.yaml > budgets.yaml
    """
    from spendgate.migration import litellm as reader
    from spendgate.migration.drafts import documents

    notes: list[Note] = []
    _print(documents(reader.read(_given(paths), notes), notes), notes)


@command.command()
@_FILES
def portkey(paths: tuple[Path, ...]) -> None:
    """Portkey: lists of its Admin API (workspaces, API keys, virtual keys, policies).

    A workspace's name is the team, an API key's name the app.

    \b
    Example: spendgate import portkey workspaces.json api-keys.json policies.json > budgets.yaml
    """
    from spendgate.migration import portkey as reader
    from spendgate.migration.drafts import documents

    notes: list[Note] = []
    _print(documents(reader.read(_given(paths), notes), notes), notes)


def _given(paths: tuple[Path, ...]) -> list[tuple[str, object]]:
    from spendgate.errors import ConfigurationError
    from spendgate.migration.values import parsed

    given: list[tuple[str, object]] = []
    for path in paths:
        try:
            text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise ConfigurationError(f"{path}: cannot be read: {e}") from e
        given += [(str(path), document) for document in parsed(text, str(path))]
    return given


def _print(text: str, notes: list[Note]) -> None:
    for note in notes:
        click.echo(str(note), err=True)
    count = text.count("\nkind: LLMBudget\n")
    click.echo(f"{count} LLMBudget{'' if count == 1 else 's'}, {len(notes)} notes", err=True)
    click.echo(text, nl=False)
