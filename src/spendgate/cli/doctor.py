"""`spendgate doctor`: what is wrong with an installation, and how it is mended."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import click


def _header(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    out = {}
    for value in values:
        name, sign, text = value.partition(":")
        if not sign or not name.strip():
            raise click.BadParameter(f"not NAME: VALUE: {value!r}")
        out[name.strip().lower()] = text.strip()
    return out


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--url", envvar="SPENDGATE_URL", metavar="URL", help="The gateway, as clients reach it.")
@click.option(
    "--key", envvar="SPENDGATE_DOCTOR_KEY", metavar="KEY", help="An API key of team spendgate-doctor."
)
@click.option(
    "--header", "headers", multiple=True, callback=_header, metavar="'NAME: VALUE'",
    help="Sent with each request instead of x-llm-team; repeatable.",
)  # fmt: skip
@click.option("--ca", default="", metavar="FILE", help="Authorities of the gateway's certificate.")
@click.option("--cert", default="", metavar="FILE", help="The doctor's client certificate (mTLS).")
@click.option("--cert-key", default="", metavar="FILE", help="Its private key.")
@click.option(
    "--envoy-admin", envvar="SPENDGATE_ENVOY_ADMIN", metavar="HOST:PORT|unix:PATH", help="Envoy's admin."
)
@click.option(
    "--envoy-config", type=click.Path(path_type=Path), help="A bootstrap file, instead of a running Envoy."
)
@click.option(
    "--admin", envvar="SPENDGATE_ADMIN", metavar="HOST:PORT", help="Admin address of `up` or `serve`."
)
@click.option(
    "--redis", "redis_url", envvar=["SPENDGATE_REDIS", "REDIS_URL"], metavar="URL",
    help="The ledger's Redis.  [env: REDIS_URL]",
)  # fmt: skip
@click.option(
    "--policy", multiple=True, type=click.Path(path_type=Path), help="LLMBudget file or folder; repeatable."
)
@click.option(
    "--prices", multiple=True, type=click.Path(path_type=Path), envvar="SPENDGATE_PRICES", help="Prices."
)
@click.option("--config", type=click.Path(path_type=Path), envvar="SPENDGATE_CONFIG", help="Settings file.")
@click.option(
    "--data-dir", default=".spendgate", show_default=True, type=click.Path(path_type=Path),
    envvar="SPENDGATE_DATA_DIR", help="Of a running `up`: what is not given is read there.",
)  # fmt: skip
@click.option(
    "-o", "output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Format."
)
def command(output: str, **given: Any) -> None:
    """Find what keeps budgets from holding, each with its fix. Exit 1 where there is an error.

    Sends real over-budget requests through the real gateway and demands the 429: those of the team
    spendgate-doctor, which has nothing in any policy. Whoever reads the gateway's Redis is believed to be the
    doctor; without it, give a key of that team. No provider is paid. Looks at Envoy's configuration,
    Redis, budgets, prices and settings, as far as it is told where they are. Changes nothing.

    \b
    Example: spendgate doctor
             spendgate doctor --url https://llm.example --key sgk_… --redis redis://redis:6379 \\
               --envoy-admin 127.0.0.1:15000 --policy budgets/ --config spendgate.yaml -o json
    """
    from spendgate.doctor.examine import examine

    findings = asyncio.run(examine(_patient(given)))
    errors = sum(f.severity == "error" for f in findings)
    if output == "json":
        click.echo(json.dumps({"errors": errors, "findings": [f.row() for f in findings]}, indent=1))
    else:
        for f in findings:
            click.echo(f"{f.severity:<8} {f.code}: {f.where}: {f.problem}\n         fix: {f.fix}")
        click.echo(_summary(given, errors, len(findings)))
    if errors:
        sys.exit(1)


def _summary(given: dict[str, Any], errors: int, found: int) -> str:
    proven = "over-budget requests were refused with 429" if given["url"] and not errors else ""
    more = found - errors
    counts = f"{errors} error{'' if errors == 1 else 's'}, {more} more finding{'' if more == 1 else 's'}"
    return f"{counts}; {proven}" if proven else counts


def _patient(given: dict[str, Any]) -> Any:
    from spendgate.doctor.examine import Installation
    from spendgate.doctor.probe import Target, identity_headers
    from spendgate.supervisor.addresses import run_dir

    path = given["data_dir"] / "up.json"
    try:
        up = json.loads(path.read_text())
    except (OSError, ValueError):
        up = {}
    if not given["url"] and up.get("url"):
        given["url"] = up["url"]
        if not given["envoy_admin"]:
            given["envoy_admin"] = f"unix:{run_dir(given['data_dir'].resolve()) / 'envoy.sock'}"
    if given["cert"] and not given["cert_key"]:
        raise click.UsageError("--cert needs --cert-key")
    target = None
    if given["url"]:
        if "://" not in given["url"]:
            raise click.UsageError(
                f"--url: not a URL: {given['url']!r}; write for example http://127.0.0.1:10000"
            )
        certificate = (given["cert"], given["cert_key"]) if given["cert"] else None
        headers = given["headers"] or identity_headers(given["key"] or "")
        target = Target(given["url"].rstrip("/"), headers, given["ca"], certificate)
    return Installation(
        target=target,
        envoy_admin=given["envoy_admin"] or "",
        envoy_config=given["envoy_config"],
        admin=given["admin"] or up.get("admin", ""),
        redis=given["redis_url"] or up.get("redis", ""),
        policy=given["policy"] or tuple(map(Path, up.get("policy", ()))),
        prices=given["prices"] or tuple(map(Path, up.get("prices", ()))),
        config=given["config"] or (Path(up["config"]) if up.get("config") else None),
        environ=os.environ,
    )
