"""What watches spendgate: Prometheus rules and Grafana dashboards, as typed data that is rendered."""
