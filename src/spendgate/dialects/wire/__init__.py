"""Byte formats that know no provider: content codings, JSON, forms, server-sent events, binary event streams."""
