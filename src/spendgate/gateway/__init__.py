"""The gateway: wire ⇄ events (ext_proc), the state machine of one exchange, identity, settling, metrics."""
