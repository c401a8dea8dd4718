"""What teams spent and hold: reservations and settlements in Redis, and the spool for when Redis is away."""
