#!/usr/bin/env bash
# What the tests, the linters and the benchmarks need beside scripts/setup.sh: Python packages and real servers,
# a browser, other people's schemas, recorded traffic. A second run with nothing changed is instant and needs no
# network; what could not be had is tried again by the next run, and its tests fail meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
stamp=.venv/.spendgate-setup-tests
want=$(sha256sum pyproject.toml scripts/setup_tests.sh tests/{schemas,sdks}/package-lock.json | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check -e '.[demo,dev]'
# Prometheus and promtool prove the alerts and dashboards in the tests. Unpacked, not installed: no service is
# started, and root is not needed.
prometheus_unpacked() {
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
  local into
  into=$(mktemp -d)
  (
    cd "$into"
    apt-get download -qq prometheus 2>/dev/null ||
      { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq prometheus; }
    dpkg-deb -x prometheus_*.deb .
  ) && cp "$into/usr/bin/prometheus" "$into/usr/bin/promtool" .venv/bin/
  local done=$?
  rm -rf "$into"
  return $done
}
have() { [ -x ".venv/bin/$1" ] || command -v "$1" >/dev/null 2>&1; }
if ! { have prometheus && have promtool; } && ! prometheus_unpacked; then
  echo "setup: no prometheus and promtool found; the tests of monitoring will fail without them" >&2
  echo "setup: put both on PATH (Debian: apt-get install prometheus)" >&2
  want=incomplete
fi
# Alertmanager, for the alerts that end there. Unpacked as well; Debian's build reads its templates from /usr/share,
# so root is needed to put them there.
templates=/usr/share/prometheus/alertmanager
alertmanager_unpacked() {
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
  [ -w /usr/share ] || return 1
  local into
  into=$(mktemp -d)
  (
    cd "$into"
    apt-get download -qq prometheus-alertmanager 2>/dev/null ||
      { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq prometheus-alertmanager; }
    dpkg-deb -x prometheus-alertmanager_*.deb .
  ) && mkdir -p "$templates" && cp -r "$into$templates/." "$templates/" &&
    cp "$into/usr/bin/prometheus-alertmanager" .venv/bin/
  local done=$?
  rm -rf "$into"
  return $done
}
if ! { have prometheus-alertmanager && [ -d "$templates" ]; } && ! alertmanager_unpacked; then
  echo "setup: no prometheus-alertmanager found; the tests of invoices will fail without it" >&2
  echo "setup: put it on PATH (Debian: apt-get install prometheus-alertmanager)" >&2
  want=incomplete
fi
# A real browser looks at the console in the tests.
if ! command -v chromium >/dev/null 2>&1; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    apt-get install -y -qq --no-install-recommends chromium >/dev/null ||
      { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }
  else
    echo "setup: no chromium found; the tests of the console will fail without it" >&2
    echo "setup: put it on PATH (Debian: apt-get install chromium)" >&2
    want=incomplete
  fi
fi
# Packages of npm, for the tests: schemas of other people's Kubernetes resources and of compose files, and the
# official JavaScript SDKs. Pinned by version and integrity in package-lock.json. No script of a package is run.
npm_packages() {
  command -v npm >/dev/null 2>&1 || {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 &&
      apt-get update -qq && apt-get install -y -qq --no-install-recommends nodejs npm
  } && (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error)
}
for folder in tests/schemas tests/sdks; do
  if ! npm_packages "$folder"; then
    echo "setup: npm could not install $folder; the tests of k8s/ or of the SDKs will fail without it" >&2
    echo "setup: put node and npm on PATH (Debian: apt-get install nodejs npm), and run this again" >&2
    want=incomplete
  fi
done
# Recorded traffic of real providers, for the tests of the dialects: fetched by hash into a cache of the user's.
if ! .venv/bin/python scripts/fetch_corpus.py >/dev/null; then
  echo "setup: the recorded traffic could not be fetched; the tests in tests/corpus will fail without it" >&2
  want=incomplete
fi
# Redis 7.0 of Debian 12, beside the servers that come as Python packages: the ledger is tried on each. Unpacked.
redis_7_unpacked() {
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
  local into home
  into=$(mktemp -d)
  home=$PWD/.venv/redis-7.0
  (
    cd "$into"
    packages="redis-server redis-tools libjemalloc2 liblzf1 libatomic1"
    # shellcheck disable=SC2086
    apt-get download -qq $packages 2>/dev/null ||
      { [ "$(id -u)" = 0 ] && apt-get update -qq && apt-get download -qq $packages; }
    mkdir -p "$home"
    for package in *.deb; do dpkg-deb -x "$package" "$home"; done
    printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo %s/usr/lib/*-linux-gnu) exec %s/usr/bin/redis-server "$@"\n' "$home" "$home" \
      > "$home/run"
    chmod +x "$home/run"
    "$home/run" --version | grep -q 'v=7\.0\.'
  ) && ln -sf "$home/run" .venv/bin/redis-server-7.0
  local done=$?
  rm -rf "$into"
  return $done
}
if ! [ -x .venv/bin/redis-server-7.0 ] && ! redis_7_unpacked; then
  echo "setup: no Redis 7.0 found; the tests of the ledger on it will fail without it" >&2
  echo "setup: put one at .venv/bin/redis-server-7.0 (Debian 12: apt-get install redis-server)" >&2
  want=incomplete
fi
echo "$want" > "$stamp"
