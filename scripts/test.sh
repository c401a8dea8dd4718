#!/usr/bin/env bash
# All tests. What needs no server of its own runs on two cores at once; the rest, which starts real Envoys, Redis and
# Kubernetes servers and measures what they do to each other, runs one by one. Both parts run, whatever the first says.
set -uo pipefail
cd "$(dirname "$0")/.."
status=0
.venv/bin/python -m pytest -n 2 --dist loadfile "$@" tests/unit tests/corpus || status=$?
.venv/bin/python -m pytest --durations=25 "$@" tests/integration tests/conformance tests/faults || status=$?
exit "$status"
