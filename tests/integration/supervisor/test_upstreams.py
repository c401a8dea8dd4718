"""Providers behind a running gateway: over TLS verified by name, and several by model."""

from __future__ import annotations

import asyncio
import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trustme
from support.gateway import Gateway
from support.ports import free_port
from support.processes import Command, until

ANSWER = {
    "id": "x", "object": "chat.completion", "model": "gpt-4o",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "hi"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
}  # fmt: skip


class Server:
    """An HTTP/1.1 server that answers chat requests and remembers the Host of each."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.hosts: list[str] = []
        self.models: list[str] = []
        self.port = free_port()
        self._context = context
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def serve() -> None:
            self._server = await asyncio.start_server(self._answer, "127.0.0.1", self.port, ssl=self._context)
            self._ready.set()
            await self._server.serve_forever()

        asyncio.set_event_loop(self._loop)
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(serve())

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
                headers = dict(x.split(": ", 1) for x in head.strip().split("\r\n")[1:])
                body = json.loads(await reader.readexactly(int(headers["content-length"])))
                self.hosts.append(headers["host"])
                self.models.append(body["model"])
                out = json.dumps(ANSWER | {"model": body["model"]}).encode()
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s"
                    % (len(out), out)
                )
        except (asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            writer.close()


@contextmanager
def running(context: ssl.SSLContext | None = None) -> Iterator[Server]:
    server = Server(context)
    server._thread.start()
    assert server._ready.wait(10)
    yield server
    server._loop.call_soon_threadsafe(server._server.close)


def ask(gateway: Gateway, model: str) -> str:
    answer = gateway.openai.chat.completions.create(
        model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=5,
        extra_headers={"x-llm-team": "ml", "x-llm-app": "chat"},
    )  # fmt: skip
    return str(answer.model)


def test_an_https_provider_is_verified_against_the_systems_authorities(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusted = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(trusted)
    with running(context) as server:
        url = f"https://localhost:{server.port}"
        with Gateway(tmp_path / "g", url, env={"SSL_CERT_FILE": str(trusted)}) as gateway:
            assert ask(gateway, "gpt-4o") == "gpt-4o"
            assert server.hosts == [f"localhost:{server.port}"]
            assert gateway.line("ml")["outcome"] == "complete"


def test_a_provider_that_the_authorities_do_not_know_gets_no_request(tmp_path: Path) -> None:
    import openai

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(context)
    other = tmp_path / "ca.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with running(context) as server:
        url = f"https://localhost:{server.port}"
        with Gateway(tmp_path / "g", url, env={"SSL_CERT_FILE": str(other)}) as gateway:
            with pytest.raises(openai.InternalServerError):
                ask(gateway, "gpt-4o")
            assert server.models == []
            assert all(line["cost_usd"] == "0.00" for line in gateway.lines("ml", 1))


def test_each_model_goes_to_the_provider_that_serves_it(tmp_path: Path) -> None:
    with running() as first, running() as second:
        config = {
            "upstreams": [
                {"name": "vllm", "url": f"http://127.0.0.1:{second.port}", "models": ["llama-*"]},
                {"name": "openai", "url": f"http://127.0.0.1:{first.port}"},
            ]
        }
        folder = tmp_path / "g"
        folder.mkdir()
        (folder / "c.yaml").write_text(json.dumps(config))
        port, admin = free_port(), free_port()
        command = Command(
            folder,
            ["up", "--quiet", "--config", str(folder / "c.yaml"), "--listen", f"127.0.0.1:{port}",
             "--admin", f"127.0.0.1:{admin}", "--data-dir", str(folder / "data"), "--workers", "1"],
        )  # fmt: skip
        import openai

        client = openai.OpenAI(base_url=f"{command.ready()}/v1", api_key="k")
        for model in ("gpt-4o", "llama-3-8b", "gpt-4o"):
            client.chat.completions.create(
                model=model, messages=[{"role": "user", "content": "hi"}], max_tokens=5
            )
        assert first.models == ["gpt-4o", "gpt-4o"]
        assert second.models == ["llama-3-8b"]
        log = folder / "data" / "usage.jsonl"
        lines = until(lambda: log.read_text().splitlines(), lambda x: len(x) == 3, "three usage lines")
        assert [json.loads(x)["upstream"] for x in lines] == ["openai", "vllm", "openai"]
        assert command.stop() == 0
