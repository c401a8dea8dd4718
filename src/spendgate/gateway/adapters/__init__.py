"""Envoy's gRPC services (ext_proc, ext_authz, access log): its messages ⇄ the events and actions of an exchange."""
