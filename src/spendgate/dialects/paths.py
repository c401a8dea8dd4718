"""Which requests belong to a dialect."""

from __future__ import annotations

from urllib.parse import unquote


def plain(path: str) -> str:
    """The path as a server will route it: percent-decoded, without a slash at its end."""
    return (unquote(path) if "%" in path else path).rstrip("/")


def is_json_post(method: str, content_type: str) -> bool:
    """A POST whose body is JSON or of no stated type."""
    media_type = content_type.partition(";")[0].strip().lower()
    return method.upper() == "POST" and (not media_type or "json" in media_type)
