"""What `up` and `serve` start and keep alive: workers, Envoy, an embedded Redis, the admin pages."""
