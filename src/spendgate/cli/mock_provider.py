"""`spendgate mock-provider`: an upstream that speaks the dialects, for demos and tests."""

from __future__ import annotations

import re

import click

LISTEN_DEFAULT = "127.0.0.1:9900"


@click.command("mock-provider")
@click.option(
    "--listen",
    default=LISTEN_DEFAULT,
    show_default=True,
    metavar="HOST:PORT",
    help="Where to listen; port 0 takes a free one.",
)
@click.option("--quiet", is_flag=True, help="Print nothing but the line `ready:`.")
def command(listen: str, quiet: bool) -> None:
    """An upstream that speaks the dialects with true usage, for demos and tests.

    \b
    Example: spendgate mock-provider --listen 127.0.0.1:9900
    It answers OpenAI chat completions (Azure's, too), Responses and embeddings,
    Anthropic messages, Gemini, Bedrock Converse, Cohere and Ollama chat, JSON and
    streams, and does what `x-mock-` headers say (x-mock-output-tokens: 500).
    GET /mock/invoice shows what it would bill, GET /mock/open how many answers are
    not on it yet, GET /mock/requests?last=1 what arrived.
    """
    address = re.fullmatch(r"\[?([^\[\]]+?)\]?:(\d{1,5})", listen)
    if address is None or int(address[2]) > 65535:
        raise click.UsageError(
            f"--listen: not an address: {listen!r}; write HOST:PORT, like {LISTEN_DEFAULT}"
        )
    import uvloop

    from spendgate.mock.provider import listen as open_socket
    from spendgate.mock.provider import serve

    host = address[1]
    s = open_socket(host, int(address[2]))
    shown = f"[{host}]" if ":" in host else host
    url = f"http://{shown}:{s.getsockname()[1]}"

    def ready() -> None:
        click.echo(f"ready: {url}")
        if not quiet:
            click.echo(f"invoice: {url}/mock/invoice  requests: {url}/mock/requests?last=10", err=True)

    uvloop.run(serve(s, ready))
