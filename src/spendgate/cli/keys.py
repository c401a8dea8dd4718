"""`spendgate keys`: API keys of teams, kept as salted hashes."""

from __future__ import annotations

import json
import os
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from spendgate.durations import parse_duration_ms
from spendgate.errors import ConfigurationError, SpendgateError

F = TypeVar("F", bound=Callable[..., Any])
DAY_MS = 86_400_000


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def command() -> None:
    """API keys of teams: issue, list, rotate, revoke.

    A key is shown once, when it is made; the file keeps a salted hash. Gateways whose settings name the file
    (`identity: [{kind: api-key, file: keys.yaml}]`) look at it again when it changes, without a restart.

    \b
    Example: spendgate keys issue --file keys.yaml --team payments --app checkout --expires 90d
             spendgate keys list --file keys.yaml
             spendgate keys rotate --file keys.yaml --grace 24h ID
             spendgate keys revoke --file keys.yaml ID
    """


def _file(function: F) -> F:
    function = click.option(
        "--config", type=click.Path(path_type=Path), envvar="SPENDGATE_CONFIG",
        help="Settings whose identity names the file.",
    )(function)  # fmt: skip
    return click.option(
        "--file", "path", type=click.Path(path_type=Path), envvar="SPENDGATE_KEYS", help="The file of keys."
    )(function)


def _path(path: Path | None, config: Path | None) -> Path:
    if path is not None:
        return path
    if config is not None:
        from spendgate.settings.config import load_config

        named = load_config(config, os.environ).key_files()
        if named:
            return named[0]
        raise ConfigurationError(f"{config}: no identity of kind api-key names a file; give --file")
    raise click.UsageError("no file of keys; give --file, or --config with settings that name one")


def _span_ms(_: click.Context, __: click.Parameter, value: str | None) -> int:
    """`90d`, or a duration as in the settings."""
    if not value:
        return 0
    days = re.fullmatch(r"(\d{1,5})d", value)
    try:
        return int(days[1]) * DAY_MS if days else parse_duration_ms(value)
    except ValueError as e:
        raise click.BadParameter(f"{e}, or 90d") from e


def _name(_: click.Context, __: click.Parameter, value: str) -> str:
    if value and (len(value) > 128 or not value.isprintable()):
        raise click.BadParameter("at most 128 printable characters")
    return value


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _make(team: str, app: str, user: str, expires_in_ms: int, note: str) -> tuple[str, Any]:
    from spendgate.identity import api_keys

    size = api_keys.ID_BYTES + api_keys.SECRET_BYTES + api_keys.SALT_BYTES
    now = _now_ms()
    ends = now + expires_in_ms if expires_in_ms else 0
    return api_keys.issue(secrets.token_bytes(size), team, app, user, now, ends, note)


def _show(text: str, key: Any, output: str, **more: str) -> None:
    from spendgate.identity.key_file import time_text

    if output == "json":
        row = {"id": key.id, "key": text, "team": key.team, "app": key.app, "user": key.user,
               "expires": time_text(key.expires_ms), **more}  # fmt: skip
        click.echo(json.dumps({k: v for k, v in row.items() if v}))
        return
    click.echo(text)
    ends = f", until {time_text(key.expires_ms)}" if key.expires_ms else ""
    click.echo(f"id {key.id}, team {key.team}{f', app {key.app}' if key.app else ''}{ends}; "
               "the key is not kept and not shown again", err=True)  # fmt: skip


_OUTPUT = click.option(
    "-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format."
)


@command.command()
@_file
@click.option("--team", required=True, callback=_name, help="The team whose budget pays.")
@click.option("--app", default="", callback=_name, help="The app; left out, another source may name it.")
@click.option("--user", default="", callback=_name, help="A person or service, for the usage log.")
@click.option("--expires", callback=_span_ms, metavar="TIME", help="Ends after so long, e.g. 90d or 12h.")
@click.option("--note", default="", callback=_name, help="For people; never in metrics.")
@_OUTPUT
def issue(
    path: Path | None,
    config: Path | None,
    team: str,
    app: str,
    user: str,
    expires: int,
    note: str,
    output: str,
) -> None:
    """Make a key. Standard output has the key alone.

    \b
    Example: spendgate keys issue --file keys.yaml --team payments --app checkout --expires 90d
    """
    from spendgate.identity import key_file

    text, key = _make(team, app, user, expires, note)
    with key_file.editing(_path(path, config)) as rings:
        rings.append(rings[0].added(key))
    _show(text, key, output)


@command.command("list")
@_file
@click.option("--team", default="", help="Only this team's.")
@click.option(
    "-o", "output", type=click.Choice(["table", "json", "secret"]), default="table", show_default=True,
    help="`secret`: a Kubernetes Secret with the file in it, hashes only.",
)  # fmt: skip
@click.option("--secret-name", default="spendgate-keys", show_default=True, help="Its name, for `-o secret`.")
@click.option("--namespace", default="spendgate", show_default=True, help="Its namespace, for `-o secret`.")
def list_(
    path: Path | None, config: Path | None, team: str, output: str, secret_name: str, namespace: str
) -> None:
    """List keys: whose they are and until when. No key is in the file, so none is shown.

    \b
    Example: spendgate keys list --file keys.yaml --team payments
             spendgate keys list --file keys.yaml -o secret | kubectl apply -f -
    """
    from spendgate.identity import key_file
    from spendgate.identity.key_file import time_text

    ring = key_file.read(_path(path, config))
    if output == "secret":
        import yaml

        document = {
            "apiVersion": "v1", "kind": "Secret", "type": "Opaque",
            "metadata": {"name": secret_name, "namespace": namespace},
            "stringData": {"keys.yaml": key_file.text_of(ring)},
        }  # fmt: skip
        click.echo(yaml.safe_dump(document, sort_keys=False), nl=False)
        return
    now = _now_ms()
    rows = [
        {"id": k.id, "state": k.state(now), "team": k.team, "app": k.app, "user": k.user,
         "created": time_text(k.created_ms), "expires": time_text(k.expires_ms),
         "revoked": time_text(k.revoked_ms), "note": k.note}
        for k in ring.keys.values() if not team or k.team == team
    ]  # fmt: skip
    rows += [
        {"id": f"sha256:{p.sha256[:12]}…", "state": "active", "team": p.team, "app": p.app}
        for p in ring.plain.values() if not team or p.team == team
    ]  # fmt: skip
    if output == "json":
        click.echo(json.dumps(rows, indent=1))
        return
    names = ("id", "state", "team", "app", "user", "created", "expires", "note")
    cells = [names, *(tuple(r.get(n, "") for n in names) for r in rows)]
    widths = [max(len(c[i]) for c in cells) for i in range(len(names))]
    for line in cells:
        click.echo("  ".join(c.ljust(w) for c, w in zip(line, widths, strict=True)).rstrip())


@command.command()
@_file
@click.argument("key_id", metavar="ID")
@click.option(
    "--grace", default="24h", show_default=True, callback=_span_ms, metavar="TIME",
    help="How long the old key still works.",
)  # fmt: skip
@click.option(
    "--expires", callback=_span_ms, metavar="TIME", help="The new key ends after so long; left out, as the old.",
)  # fmt: skip
@_OUTPUT
def rotate(
    path: Path | None, config: Path | None, key_id: str, grace: int, expires: int, output: str
) -> None:
    """Make a new key for whom the old one was; the old one works on for a while.

    \b
    Example: spendgate keys rotate --file keys.yaml --grace 24h mfzwizltoq2ge
    """
    from spendgate.identity import key_file

    with key_file.editing(_path(path, config)) as rings:
        old = rings[0].keys.get(key_id)
        if old is None or old.state(_now_ms()) != "active":
            raise _no_such(key_id, "active key")
        lifetime = expires or (old.expires_ms - old.created_ms if old.expires_ms else 0)
        text, key = _make(old.team, old.app, old.user, lifetime, old.note)
        rings.append(rings[0].added(key).expiring(key_id, _now_ms() + grace))
    _show(text, key, output, replaces=key_id)


@command.command()
@_file
@click.argument("key_id", metavar="ID")
def revoke(path: Path | None, config: Path | None, key_id: str) -> None:
    """End a key at once (within the gateways' reload_interval). Its entry stays, for the books.

    \b
    Example: spendgate keys revoke --file keys.yaml mfzwizltoq2ge
    """
    from spendgate.identity import key_file

    with key_file.editing(_path(path, config)) as rings:
        if key_id not in rings[0].keys:
            raise _no_such(key_id, "key")
        rings.append(rings[0].revoked(key_id, _now_ms()))
    click.echo(f"revoked {key_id}", err=True)


def _no_such(key_id: str, what: str) -> SpendgateError:
    return SpendgateError(f"no {what} has the id {key_id!r}; `spendgate keys list` shows the ids")
