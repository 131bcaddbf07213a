# Where the tools of the chart's checks are, and how they are fetched, once, into the cache; sourced.
#
#   fetch_helm         builds Helm from its Go module (a few minutes)
#   fetch_kubeconform  builds kubeconform from its Go module (a few seconds)
#   fetch_prometheus   unpacks Debian's package of Prometheus, with promtool: installed, it would start a service
#   fetch_kubernetes   builds an API server, its controllers and etcd from their Go modules (long, on two cores)
#   make_chart_venv    the Python environment, made anew when the pinned versions change
# shellcheck shell=bash

TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
HELM_VERSION=v3.22.0
KUBECONFORM_VERSION=v0.7.0
CHART_VENV=$TALLY_CACHE/chart-venv
# shellcheck disable=SC2034
CHART_PYTHON=$CHART_VENV/bin/python
HELM=${HELM:-}
KUBECONFORM=${KUBECONFORM:-}
PROMTOOL=${PROMTOOL:-}
PROMETHEUS=${PROMETHEUS:-}

# Program of the PATH, else of the cache; nothing where neither has it.
tool() { type -P "$1" || { [[ -x $TALLY_CACHE/bin/$1 ]] && echo "$TALLY_CACHE/bin/$1"; }; }

fetch_helm() {
  if [[ -n $HELM ]] || HELM=$(tool helm); then return; fi
  if ! type -P go >/dev/null; then
    echo 'setup: Helm is missing, and Go to build it: https://helm.sh/docs/intro/install or https://go.dev/doc/install' >&2
    return 1
  fi
  echo "setup: building Helm $HELM_VERSION (a few minutes, once)"
  mkdir -p "$TALLY_CACHE/bin"
  GOBIN=$TALLY_CACHE/bin go install -trimpath "helm.sh/helm/v3/cmd/helm@$HELM_VERSION"
  HELM=$TALLY_CACHE/bin/helm
}

fetch_kubeconform() {
  if [[ -n $KUBECONFORM ]] || KUBECONFORM=$(tool kubeconform); then return; fi
  if ! type -P go >/dev/null; then
    echo 'setup: kubeconform is missing, and Go to build it: https://go.dev/doc/install' >&2
    return 1
  fi
  echo "setup: building kubeconform $KUBECONFORM_VERSION (once)"
  mkdir -p "$TALLY_CACHE/bin"
  GOBIN=$TALLY_CACHE/bin go install -trimpath "github.com/yannh/kubeconform/cmd/kubeconform@$KUBECONFORM_VERSION"
  KUBECONFORM=$TALLY_CACHE/bin/kubeconform
}

fetch_prometheus() {
  if [[ -n $PROMTOOL && -n $PROMETHEUS ]]; then return; fi
  if PROMTOOL=$(tool promtool) && PROMETHEUS=$(tool prometheus); then return; fi
  if ! type -P apt-get dpkg-deb >/dev/null; then
    echo 'setup: promtool and prometheus are missing: https://prometheus.io/download' >&2
    return 1
  fi
  echo 'setup: unpacking Prometheus (20 MB, once)'
  local folder
  folder=$(mktemp -d)
  # Apt downloads as a user of its own.
  chmod 755 "$folder"
  (
    cd "$folder" || exit 1
    apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }
    dpkg-deb --fsys-tarfile prometheus_*.deb | tar -x ./usr/bin/prometheus ./usr/bin/promtool
  )
  mkdir -p "$TALLY_CACHE/bin"
  mv "$folder/usr/bin/prometheus" "$folder/usr/bin/promtool" "$TALLY_CACHE/bin/"
  rm -rf "$folder"
  PROMTOOL=$TALLY_CACHE/bin/promtool PROMETHEUS=$TALLY_CACHE/bin/prometheus
}

# Into the folder KUBERNETES, with what was built: anew when the pinned versions change.
fetch_kubernetes() {
  local module pinned flags
  module=$(dirname "${BASH_SOURCE[0]}")/apiserver
  pinned=$(sed -n 's|^\tk8s.io/kubernetes \(v[0-9.]*\).*|\1|p' "$module/go.mod")
  KUBERNETES=$TALLY_CACHE/kubernetes-$pinned
  if cmp -s "$module/go.mod" "$KUBERNETES/go.mod"; then return; fi
  if ! type -P go >/dev/null; then
    echo 'setup: Go is missing, to build the API server: https://go.dev/doc/install' >&2
    return 1
  fi
  echo "setup: building kube-apiserver $pinned, its controllers and etcd (long on two cores, once)"
  rm -rf "$KUBERNETES"
  mkdir -p "$KUBERNETES"
  # Built so, an API server does not know its version by itself, and clients ask for it.
  flags="-s -w -X k8s.io/component-base/version.gitVersion=$pinned"
  (
    cd "$module" || exit 1
    go build -v -trimpath -ldflags "$flags" -o "$KUBERNETES/" go.etcd.io/etcd/server/v3 \
      k8s.io/kubernetes/cmd/kube-apiserver k8s.io/kubernetes/cmd/kube-controller-manager 2>&1
  ) | awk 'NF != 1 { print; next } ++built % 200 == 0 { print "setup: " built " packages of about 2,400"; fflush() }'
  mv "$KUBERNETES/server" "$KUBERNETES/etcd"
  cp "$module/go.mod" "$KUBERNETES/go.mod"
}

make_chart_venv() {
  local pins
  pins=$(dirname "${BASH_SOURCE[0]}")/requirements.txt
  if cmp -s "$pins" "$CHART_VENV/requirements.txt"; then return; fi
  echo "setup: making the Python environment $CHART_VENV"
  rm -rf "$CHART_VENV"
  python3 -m venv "$CHART_VENV"
  "$CHART_VENV/bin/pip" install -q --disable-pip-version-check -r "$pins"
  cp "$pins" "$CHART_VENV/requirements.txt"
}
