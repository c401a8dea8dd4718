#!/usr/bin/env bash
# The inner loop: lint, format, types, import contracts, unit tests. Needs `make setup` and the extra `check` of pyproject.toml,
# which it installs itself: no browser, npm or Prometheus. A second run with nothing changed in pyproject.toml needs no
# network. Every part runs, whatever the one before it says; arguments go to pytest.
set -uo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh || exit 1
stamp=.venv/.spendgate-check
want=$(sha256sum pyproject.toml scripts/check.sh | sha256sum | cut -d' ' -f1)
if ! { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; }; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[demo,check]' || exit 1
  echo "$want" >"$stamp"
fi
export PYTHONPATH=src
failed=""
part() { # NAME COMMAND...
  local name=$1 begun=$SECONDS
  shift
  "$@" || failed+=" $name"
  echo "check: $name took $((SECONDS - begun)) s"
}
part lint .venv/bin/ruff check --quiet src tests scripts bench
part format .venv/bin/ruff format --quiet --check src tests scripts bench
part types .venv/bin/mypy
part contracts .venv/bin/lint-imports
unset PYTHONPATH
part tests .venv/bin/python -m pytest -q -n 2 --dist loadfile "$@" tests/unit
[ -z "$failed" ] || { echo "check: failed:$failed" >&2; exit 1; }
