"""`spendgate log`: looking at the usage log."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from spendgate.errors import ConfigurationError

POLL_S = 0.2
OUTCOMES = ("complete", "aborted", "failed", "refused", "unmetered")


@click.group("log", context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """Look at the usage log: one JSON line an exchange.

    \b
    Example: spendgate log tail -f | grep '"team":"payments"'
    """


@command.command("tail")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option(
    "-n", "--lines", default=10, show_default=True, type=click.IntRange(0), help="The last so many."
)
@click.option("-f", "--follow", "follows", is_flag=True, help="Go on with what is written, over rotation.")
@click.option("--team", help="Only this team.")
@click.option("--app", "app", help="Only this app.")
@click.option("--model", help="Only what this model served.")
@click.option("--outcome", type=click.Choice(OUTCOMES), help="Only what ended so.")
@click.option("--reason", help="Only what was decided for this reason.")
@click.option("-o", "--output", type=click.Choice(["json", "short"]), default="json", show_default=True)
@click.option(
    "--data-dir", default=".spendgate", show_default=True, envvar="SPENDGATE_DATA_DIR",
    type=click.Path(path_type=Path), help="Data dir of a running `spendgate up`, for its log.",
)  # fmt: skip
def tail_command(
    file: Path | None, lines: int, follows: bool, team: str | None, app: str | None, model: str | None,
    outcome: str | None, reason: str | None, output: str, data_dir: Path,
) -> None:  # fmt: skip
    """Print the last exchanges, and with -f those to come.

    Lines are printed as they are written, so that grep and jq can go on with them; `-o short` is for people. -n
    counts the lines looked at, before the filters. Without FILE: DATA_DIR/usage.jsonl.

    \b
    Example:
      spendgate log tail -n 100 --outcome refused
      spendgate log tail -f --team payments -o short
    """  # fmt: skip
    from spendgate.records.tail import follow, last_lines

    path = file or data_dir / "usage.jsonl"
    wanted = {"team": team, "app": app, "model": model, "outcome": outcome, "reason": reason}
    show = _printer({k: v for k, v in wanted.items() if v is not None}, output)
    try:
        last, offset = last_lines(path, lines)
        for line in last:
            show(line)
        if follows:
            for line in follow(path, offset, _wait):
                show(line)
    except OSError as e:
        raise ConfigurationError(
            f"{path}: {e.strerror or e}; name the file, or the --data-dir of a running `spendgate up`"
        ) from e
    except KeyboardInterrupt:
        return


def _wait() -> bool:
    sys.stdout.flush()
    time.sleep(POLL_S)
    return True


def _printer(wanted: dict[str, str], output: str) -> Callable[[bytes], None]:
    import orjson

    def show(line: bytes) -> None:
        if not wanted and output == "json":
            click.echo(line)
            return
        try:
            row = orjson.loads(line)
        except orjson.JSONDecodeError:
            click.echo(f"spendgate log: not JSON: {line[:80]!r}", err=True)
            return
        if all(row.get(k) == v for k, v in wanted.items()):
            click.echo(line if output == "json" else _short(row))

    return show


def _short(row: dict[str, Any]) -> str:
    tokens = " ".join(f"{kind}={n}" for kind, n in row.get("tokens", {}).items())
    asked, served = row.get("model_requested", ""), row.get("model", "")
    model = served if asked in ("", served) else f"{asked} → {served}"
    return (
        f"{row.get('time')} {row.get('team')}/{row.get('app')} {model} {row.get('outcome')} "
        f"{row.get('decision')}:{row.get('reason')} ${row.get('cost_usd')} {tokens}"
    ).rstrip()
