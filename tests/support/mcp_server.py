"""An MCP server by the official SDK, in a thread: tools that count how often they ran."""

from __future__ import annotations

import threading
from collections import Counter
from types import TracebackType

import uvicorn
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.transport_security import TransportSecuritySettings

from support.ports import free_port
from support.processes import until


class McpServer:
    """A context manager. `web` and `slow` answer, `broken` raises; `ran` counts calls by tool."""

    def __init__(self, *, json_response: bool) -> None:
        self.ran: Counter[str] = Counter()
        server = MCPServer("search", log_level="ERROR")

        def web(query: str) -> str:
            self.ran["web"] += 1
            return f"found {query}"

        async def slow(query: str, context: Context) -> str:
            self.ran["slow"] += 1
            await context.report_progress(1, 2, "half")
            return f"found {query} at last"

        def broken(query: str) -> str:
            self.ran["broken"] += 1
            raise ValueError("no such page")

        def unlisted(query: str) -> str:
            self.ran["unlisted"] += 1
            return query

        for tool in (web, slow, broken, unlisted):
            server.tool()(tool)

        security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        app = server.streamable_http_app(json_response=json_response, transport_security=security)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._server = uvicorn.Server(uvicorn.Config(app, "127.0.0.1", port, log_level="error"))
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> McpServer:
        self._thread.start()
        until(lambda: self._server.started, bool, "the MCP server")
        return self

    def __exit__(self, kind: type[BaseException] | None, _: object, __: TracebackType | None) -> None:
        self._server.should_exit = True
        self._server.force_exit = True
        self._thread.join(10)
