"""The controller: budgets as Kubernetes resources, their status, and the policy that gateways read."""
