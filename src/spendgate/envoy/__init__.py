"""What Envoy is told: the bootstraps, and the patches for Istio and Envoy Gateway. Nothing runs here."""
