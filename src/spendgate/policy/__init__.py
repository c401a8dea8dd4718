"""The policy in force: written by the controller, read by gateways from Redis or, while that is away, from disk."""
