#!/usr/bin/env bash
# What `make release` needs beside scripts/setup.sh, so that it needs no network itself: Debian's buildah, skopeo,
# mmdebstrap and ssh-keygen, the image's base (a minimal Debian with Python), every package of the image as a wheel, and the
# Python packages of the extra `release`. Kept below the user's cache, for all checkouts. As root, on Debian.
# A second run with nothing changed is instant. --fresh: base and wheels anew, for Debian's newest fixes.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/setup.sh
suite=bookworm # its Python is the image's, 3.11
cache=${SPENDGATE_RELEASE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spendgate-release}
[ "${1:-}" = --fresh ] && rm -f "$cache"/*.stamp
mkdir -p "$cache"
fail() {
  echo "setup: $*" >&2
  exit 1
}
done_with() { [ -f "$cache/$1.stamp" ] && [ "$(cat "$cache/$1.stamp")" = "$2" ]; }

needed=""
for tool in buildah skopeo mmdebstrap ssh-keygen; do command -v $tool >/dev/null 2>&1 || needed=yes; done
if [ -n "$needed" ]; then
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 ||
    fail "put buildah, skopeo, mmdebstrap and ssh-keygen on PATH (Debian: apt-get install buildah skopeo mmdebstrap openssh-client)"
  export DEBIAN_FRONTEND=noninteractive
  packages=(buildah skopeo mmdebstrap openssh-client debian-archive-keyring ca-certificates)
  apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null 2>&1 ||
    { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null; }
fi

.venv/bin/python -c 'import async_timeout, cyclonedx.validation.json, helm_python, jsonschema' 2>/dev/null ||
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-build-isolation -e '.[release]'

# Wheels for the image's Python and C library (Debian 12: 2.36), whatever runs here.
want=$(cat deploy/image/requirements.txt scripts/setup_release.sh | sha256sum | cut -d' ' -f1)
if ! done_with wheels "$want"; then
  machine=$(uname -m)
  platforms=(--platform any --platform "linux_$machine" --platform "manylinux2014_$machine")
  for minor in $(seq 36 -1 5); do platforms+=(--platform "manylinux_2_${minor}_$machine"); done
  rm -rf "$cache/wheels"
  # pip asks this machine's Python what `python_full_version` is, not the image's
  mkdir -p "$cache/wheels"
  sed 's/ ; python_full_version .*//' deploy/image/requirements.txt >"$cache/wheels/requirements.txt"
  .venv/bin/python -m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
    --python-version 3.11 --implementation cp --abi cp311 --abi abi3 --abi none "${platforms[@]}" \
    -d "$cache/wheels" -r "$cache/wheels/requirements.txt" pip 2>&1 | { grep -v ^WARNING || true; }
  echo "$want" >"$cache/wheels.stamp"
fi

want=$(sha256sum scripts/setup_release.sh | cut -d' ' -f1)
if ! done_with base "$want"; then
  mmdebstrap --quiet --variant=essential --include=python3,ca-certificates,libstdc++6 \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    "$suite" "$cache/base.tar"
  buildah=(buildah --root "$cache/storage" --runroot "$cache/run" --storage-driver vfs)
  "${buildah[@]}" rmi --force spendgate-base >/dev/null 2>&1 || true
  container=$("${buildah[@]}" from scratch)
  "${buildah[@]}" add --quiet "$container" "$cache/base.tar" / >/dev/null
  "${buildah[@]}" commit --quiet --rm "$container" spendgate-base >/dev/null
  rm -f "$cache/base.tar"
  echo "$want" >"$cache/base.stamp"
fi

# The releaser's own key. Give another by KEY=… to `make release`.
key=${XDG_CONFIG_HOME:-$HOME/.config}/spendgate/release_key
if [ ! -f "$key" ]; then
  mkdir -p "$(dirname "$key")" && chmod 700 "$(dirname "$key")"
  ssh-keygen -q -t ed25519 -N '' -C spendgate-release -f "$key"
  echo "setup: made a key for signing releases: $key (publish $key.pub where its readers trust it)" >&2
fi
