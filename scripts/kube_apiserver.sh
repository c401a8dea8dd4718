#!/usr/bin/env bash
# Prints two lines, the paths of a real kube-apiserver and a real etcd for the tests, and makes them where
# there are none. Looked for in this order:
#   $KUBE_APISERVER and $ETCD; $KUBEBUILDER_ASSETS (envtest); PATH; our cache (a folder of the user's cache).
# Else the apiserver is compiled from the distribution's own source package: on Debian 12 as root that takes
# about three minutes on two cores and 1 GB below the temporary folder; the next run takes the cached binary.
set -euo pipefail

cache=${SPENDGATE_TEST_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/spendgate-tests}
version=1.20.2
apiserver=$cache/kube-apiserver-$version

say() { echo "kube: $*" >&2; }
die() { say "$@"; exit 1; }

find_tool() { # NAME EXPLICIT
  local candidate
  for candidate in "$2" "${KUBEBUILDER_ASSETS:+$KUBEBUILDER_ASSETS/$1}" "$(command -v "$1" || true)" "${3:-}"; do
    if [ -n "$candidate" ] && [ -x "$candidate" ]; then echo "$candidate"; return; fi
  done
}

need_root_apt() {
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null ||
    die "no $1 here; set $2 to one (envtest's setup gives both), or run as root on Debian to have it made"
}

install() { # packages from the distribution, quietly; the log goes to stderr only on failure
  local log
  log=$(mktemp)
  if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@"; } >"$log" 2>&1
  then cat "$log" >&2; die "could not install $*"; fi
  rm -f "$log"
}

# The apiserver, from Debian's source package `kubernetes` (its dependencies come with it: nothing else is fetched).
build() {
  local work src log
  work=$(mktemp -d "${TMPDIR:-/tmp}/spendgate-kube.XXXXXX")
  log=$cache/build.log
  say "compiling kube-apiserver $version, about three minutes (log: $log)"
  install golang-go dpkg-dev ca-certificates golang-github-modern-go-reflect2-dev
  # The source index is read through a private apt configuration; the machine's own lists stay as they are.
  mkdir -p "$work"/apt/{lists/partial,cache/archives/partial}
  : >"$work/apt/status"
  local mirror
  mirror=$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
    grep -oE 'https?://[^ ]+/debian/?( |$)' | head -1 | tr -d ' ' || true) # head may end the pipe early
  [ -n "$mirror" ] || die "no Debian mirror in /etc/apt; set KUBE_APISERVER to a kube-apiserver"
  echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror bookworm main" >"$work/apt/sources.list"
  local apt=(apt-get -q -o "Dir::State=$work/apt" -o "Dir::State::lists=$work/apt/lists"
    -o "Dir::State::status=$work/apt/status" -o "Dir::Cache=$work/apt/cache"
    -o "Dir::Etc::sourcelist=$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null)
  src=$work/go/src/k8s.io/kubernetes
  mkdir -p "$(dirname "$src")"
  (
    set -e
    cd "$work"
    "${apt[@]}" update
    "${apt[@]}" source --download-only kubernetes
    dpkg-source -x kubernetes_*.dsc "$src"
    cd "$src"
    # reflect2 1.0.1 as vendored crashes on Go >= 1.18 at the first custom resource; Debian packages 1.0.2
    rm -rf vendor/github.com/modern-go/reflect2
    cp -rL /usr/share/gocode/src/github.com/modern-go/reflect2 vendor/github.com/modern-go/reflect2
    export GOPATH=$work/go GOCACHE=$work/gocache GO111MODULE=off CGO_ENABLED=0 GOFLAGS=
    # one generated file is not part of the source package: the OpenAPI definitions
    nice go build -o "$work/openapi-gen" ./vendor/k8s.io/kube-openapi/cmd/openapi-gen
    {
      grep -rl --include='*.go' '+k8s:openapi-gen=' pkg cmd plugin || true
      for d in vendor/k8s.io/*/; do
        case $d in *code-generator* | *sample-apiserver*) continue ;; esac
        find -L "$d" -name '*.go' -exec grep -l '+k8s:openapi-gen=' {} + || true
      done
    } | xargs -n1 dirname | LC_ALL=C sort -u | sed 's#^#k8s.io/kubernetes/#' | paste -sd, >"$work/inputs"
    nice "$work/openapi-gen" --logtostderr -i "$(cat "$work/inputs")" -p k8s.io/kubernetes/pkg/generated/openapi \
      -O zz_generated.openapi -h vendor/k8s.io/code-generator/hack/boilerplate.go.txt -r "$work/violations"
    v=k8s.io/kubernetes/vendor/k8s.io/component-base/version
    # providerless leaves the old cloud providers out: much less to compile
    nice go build -tags providerless -o "$work/kube-apiserver" \
      -ldflags "-s -w -X $v.gitVersion=v$version -X $v.gitMajor=1 -X $v.gitMinor=20 -X $v.gitTreeState=clean -X $v.gitCommit=debian" \
      ./cmd/kube-apiserver
  ) >"$log" 2>&1 || { tail -20 "$log" >&2; chmod -R u+w "$work"; rm -rf "$work"; die "the build failed; log: $log"; }
  mv "$work/kube-apiserver" "$apiserver.new"
  mv "$apiserver.new" "$apiserver" # whole or not at all
  chmod -R u+w "$work"
  rm -rf "$work"
}

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9 # two test runs at once build once
bin=$(find_tool kube-apiserver "${KUBE_APISERVER:-}" "$apiserver")
if [ -z "$bin" ]; then
  need_root_apt kube-apiserver KUBE_APISERVER
  build
  bin=$apiserver
fi
etcd=$(find_tool etcd "${ETCD:-}")
if [ -z "$etcd" ]; then
  need_root_apt etcd ETCD
  install etcd-server
  etcd=$(command -v etcd)
fi
"$bin" --version >&2
echo "$bin"
echo "$etcd"
