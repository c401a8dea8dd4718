"""One exchange, a request and its response, as a sans-io state machine: no socket, no clock, no Redis."""
