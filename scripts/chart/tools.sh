# Where the tools of the chart's checks are, and how they are fetched, once, into the cache; sourced.
#
#   fetch_helm         builds Helm from its Go module (a few minutes)
#   fetch_prometheus   unpacks Debian's package of Prometheus, with promtool: installed, it would start a service
#   make_chart_venv    the Python environment, made anew when the pinned versions change
# shellcheck shell=bash

TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
HELM_VERSION=v3.22.0
CHART_VENV=$TALLY_CACHE/chart-venv
# shellcheck disable=SC2034
CHART_PYTHON=$CHART_VENV/bin/python
HELM=${HELM:-}
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
