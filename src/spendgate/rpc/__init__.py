"""gRPC over HTTP/2 for the gateway's services: frames, calls and limits of ours on an HTTP/2 library of others.

The protocol is apart from the sockets: `connection.py` takes bytes and gives bytes, `server.py` alone knows asyncio.
Which library frames HTTP/2 is the engine's secret (`engine.py`): `ngh2` (libnghttp2) or `h2` (pure Python).
gRPC over HTTP/2: https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md; HTTP/2: RFC 9113.
"""
