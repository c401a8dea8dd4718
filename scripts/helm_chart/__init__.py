"""What scripts/build_chart.py makes charts/spendgate of: manifests of k8s/, edited as text, and its values."""
