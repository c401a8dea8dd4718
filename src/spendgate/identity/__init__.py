"""From what Envoy tells of a caller to its team, app, user and run: headers, certificates, JWT claims, API keys."""
