"""Tools that agents call: the Model Context Protocol over streamable HTTP."""

from spendgate.dialects.base import Dialect
from spendgate.dialects.mcp.tools import McpTools

DIALECTS: tuple[Dialect, ...] = (McpTools(),)
