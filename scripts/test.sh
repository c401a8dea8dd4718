#!/usr/bin/env bash
# All tests. What needs no server of its own (unit tests, the corpus, files that only kubectl, node or promtool look at)
# runs on two cores at once. The rest starts real Envoys, Redis and Kubernetes servers, and mostly waits for them: the
# integration tests run one by one, the conformance and fault tests one by one beside them. Every part runs, whatever
# another says.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
tools=(tests/integration/k8s tests/integration/monitoring/test_{alerts,grown}.py)
.venv/bin/python -m pytest -n 2 --dist loadfile "$@" tests/unit tests/corpus "${tools[@]}" || status=$?
beside=$(mktemp)
.venv/bin/python -m pytest -p no:cacheprovider --durations=25 "$@" tests/conformance tests/faults >"$beside" 2>&1 &
other=$!
trap 'kill "$other" 2>/dev/null; rm -f "$beside"' EXIT
.venv/bin/python -m pytest --durations=25 "${tools[@]/#/--ignore=}" "$@" tests/integration || status=$?
wait "$other" || status=$?
cat "$beside"
exit "$status"
