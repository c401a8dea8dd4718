"""The gateway: Envoy's services, what a worker's exchanges share (ledger, settling, metrics), and the worker itself."""
