#!/usr/bin/env bash
# All tests. What needs no server of its own (unit tests, the corpus, files that only kubectl, node or promtool look at)
# runs on two cores at once; the rest, which starts real Envoys, Redis and Kubernetes servers and measures what they do
# to each other, runs one by one. Both parts run, whatever the first says.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
tools=(tests/integration/k8s tests/integration/monitoring/test_{alerts,grown}.py)
.venv/bin/python -m pytest -n 2 --dist loadfile "$@" tests/unit tests/corpus "${tools[@]}" || status=$?
.venv/bin/python -m pytest --durations=25 "${tools[@]/#/--ignore=}" "$@" tests/integration tests/conformance tests/faults || status=$?
exit "$status"
