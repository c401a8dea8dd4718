#!/usr/bin/env bash
# What the tests, the linters and the benchmarks need beside scripts/setup.sh: Python packages and real servers,
# a browser, other people's schemas, recorded traffic. A second run with nothing changed is instant and needs no
# network; what could not be had is tried again by the next run, and its tests fail meanwhile.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
stamp=.venv/.spendgate-setup-tests
want=$(sha256sum pyproject.toml scripts/setup_{tests,release}.sh deploy/image/requirements.txt tests/{schemas,sdks,agents,stores}/package-lock.json | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$want" ]; then exit 0; fi
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[demo,dev]'
# what the image's build installs first, for the test that does it without a network
.venv/bin/python -m pip download --quiet --disable-pip-version-check -d .venv/wheels 'hatchling>=1.25'

missing() { # WHAT TESTS REMEDY
  echo "setup: no $1; the tests of $2 will fail without it" >&2
  echo "setup: $3, and run this again" >&2
  want=incomplete
}
have() { [ -x ".venv/bin/$1" ] || command -v "$1" >/dev/null 2>&1; }
as_root() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; }
installed() { # PACKAGE...
  as_root && export DEBIAN_FRONTEND=noninteractive || return 1
  apt-get install -y -qq --no-install-recommends "$@" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@" >/dev/null; }
}
# Packages of Debian, unpacked below a folder: nothing is installed, no service is started, root is not needed where
# apt's lists are fresh. With SUITE set, those of another release of Debian, through lists of our own.
unpacked() { # INTO PACKAGE...
  command -v apt-get >/dev/null 2>&1 && command -v dpkg-deb >/dev/null 2>&1 || return 1
  local into=$1 work mirror done=0
  shift
  work=$(mktemp -d)
  mkdir -p "$into" "$work"/apt/{lists/partial,cache/archives/partial}
  (
    into=$(realpath "$into")
    cd "$work"
    if [ -n "${SUITE:-}" ]; then
      mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
        grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ' || true)
      [ -n "$mirror" ] || exit 1
      : >apt/status
      echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $SUITE main" >apt/sources.list
      own=(-o APT::Sandbox::User=root -o "Dir::State=$work/apt" -o "Dir::State::lists=$work/apt/lists"
        -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache"
        -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null)
      apt-get -qq "${own[@]}" update && apt-get -qq "${own[@]}" download "$@" 2>/dev/null || exit 1
    else
      apt-get -qq download "$@" 2>/dev/null ||
        { [ "$(id -u)" = 0 ] && apt-get -qq update && apt-get -qq download "$@" 2>/dev/null; } || exit 1
    fi
    for package in *.deb; do dpkg-deb -x "$package" "$into" || exit 1; done
  ) || done=$?
  rm -rf "$work"
  return "$done"
}
debs=.venv/debian # what was unpacked

# Prometheus and promtool prove the alerts and dashboards.
if ! { have prometheus && have promtool; }; then
  { unpacked "$debs" prometheus && cp "$debs"/usr/bin/{prometheus,promtool} .venv/bin/; } ||
    missing "prometheus and promtool" "monitoring" "put both on PATH (Debian: apt-get install prometheus)"
fi
# Alertmanager, for the alerts that end there. Debian's build reads its templates from /usr/share: root is needed.
templates=/usr/share/prometheus/alertmanager
if ! { have prometheus-alertmanager && [ -d "$templates" ]; }; then
  { [ -w /usr/share ] && unpacked "$debs" prometheus-alertmanager && mkdir -p "$templates" &&
    cp -r "$debs$templates/." "$templates/" && cp "$debs/usr/bin/prometheus-alertmanager" .venv/bin/; } ||
    missing "prometheus-alertmanager" "invoices" "put it on PATH (Debian: apt-get install prometheus-alertmanager)"
fi
# kubectl, new enough to know kustomize's components: that of Debian 12 is not, that of Debian 13 runs there.
knows_components() { have kubectl && { .venv/bin/kubectl kustomize k8s/base || kubectl kustomize k8s/base; } >/dev/null 2>&1; }
if ! knows_components; then
  { SUITE=trixie unpacked "$debs" kubectl && cp "$debs/usr/bin/kubectl" .venv/bin/ && knows_components; } ||
    missing "kubectl of 1.21 or later" "k8s/" "put one on PATH (Debian 13: apt-get install kubectl)"
fi
# A real browser looks at the console; what drives it brings a node of its own, which needs libatomic.
drives() { .venv/lib/python3*/site-packages/playwright/driver/node --version >/dev/null 2>&1; }
{ have chromium && drives; } || installed chromium libatomic1 ||
  missing "chromium" "the console" "put it on PATH (Debian: apt-get install chromium libatomic1)"
# The tutorial is followed to the letter.
have curl || installed curl || missing "curl" "the tutorial" "put it on PATH (Debian: apt-get install curl)"
# What a release is made with; the tests make one.
scripts/setup_release.sh ||
  missing "the tools of a release" "releases" "look at what scripts/setup_release.sh says"
# Packages of npm: schemas of other people's Kubernetes resources and of compose files, the official JavaScript SDKs,
# coding agents (1.1 GB: their programs are whole binaries), and Azure's blob store (Azurite). Pinned by version and integrity in package-lock.json.
# No script of a package is run.
have npm || installed nodejs npm || true
for folder in tests/schemas tests/sdks tests/agents tests/stores; do
  (have npm && cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error) ||
    missing "packages of npm in $folder" "k8s/, of the SDKs, of coding agents or of exports to Azure" "put node and npm on PATH (Debian: apt-get install nodejs npm)"
done
# aider, a coding agent of PyPI, pins each package that it uses, others than ours: it has an environment of its own.
aider=.venv/aider
{ { [ -x $aider/bin/python ] || .venv/bin/python -m venv $aider; } &&
  $aider/bin/python -m pip install --quiet --disable-pip-version-check aider-chat==0.86.2; } ||
  missing "aider" "coding agents" "look at what pip says (aider 0.86.2 needs Python below 3.13)"
# Recorded traffic of real providers, for the tests of the dialects: fetched by hash into a cache of the user's.
.venv/bin/python scripts/fetch_corpus.py >/dev/null ||
  missing "recorded traffic" "the corpus" "look at what scripts/fetch_corpus.py says"
# Redis 7.0 of Debian 12, beside the servers that come as Python packages: the ledger is tried on each.
redis_7() {
  local home=$PWD/.venv/redis-7.0
  unpacked "$home" redis-server redis-tools libjemalloc2 liblzf1 libatomic1 || return 1
  printf '#!/bin/sh\nLD_LIBRARY_PATH=$(echo %s/usr/lib/*-linux-gnu) exec %s/usr/bin/redis-server "$@"\n' "$home" "$home" \
    >"$home/run"
  chmod +x "$home/run"
  "$home/run" --version | grep -q 'v=7\.0\.' && ln -sf "$home/run" .venv/bin/redis-server-7.0
}
[ -x .venv/bin/redis-server-7.0 ] || redis_7 ||
  missing "Redis 7.0" "the ledger on it" "put one at .venv/bin/redis-server-7.0 (Debian 12: apt-get install redis-server)"
echo "$want" >"$stamp"
