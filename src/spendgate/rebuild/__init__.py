"""What teams spent, from elsewhere than the ledger: Prometheus and usage logs; and the ledger filled up by it."""
