#!/usr/bin/env bash
# Every check of the chart, the alert rules, the dashboards, the runbooks, the Dockerfile and compose.yaml that needs no
# cluster. Goes on after a failure, names each at the end, and exits 1 if there was one.
#
#   scripts/lint-chart.sh            what `make lint` runs
#   scripts/lint-chart.sh --update   first writes what is generated: snapshots, dashboards, helm/README.md
#   scripts/lint-chart.sh --fetch    only fetches the tools, once, into the cache
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/chart/tools.sh
source scripts/chart/tools.sh

fetch_helm
fetch_kubeconform
fetch_prometheus
make_chart_venv
if [[ ${1:-} == --fetch ]]; then exit; fi

update=${1:-}
[[ $update == '' || $update == --update ]] || { echo 'usage: scripts/lint-chart.sh [--update | --fetch]' >&2; exit 2; }
# Where Helm keeps what it keeps: nothing of the person's own is read.
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export HELM_CACHE_HOME=$folder/cache HELM_CONFIG_HOME=$folder/config HELM_DATA_HOME=$folder/data
failed=()

# check NAME COMMAND…: in a shell of its own that ends at the first failure. Called within an `if`, a function would go on
# after one, and only its last command would count.
check() {
  local name=$1 status
  shift
  printf '\n== chart: %s\n' "$name"
  set +e
  (set -e; "$@")
  status=$?
  set -e
  if [[ $status == 0 ]]; then echo ok; else failed+=("$name"); fi
}

variants() { basename -s .yaml -a helm/variants/*.yaml; }

# What the chart makes of a variant, with further arguments of Helm. Helm as it is built here takes
# Kubernetes for 1.20, so it is told another; its own version is not in what it renders, and neither
# are lines without anything.
render() {
  "$HELM" template tally helm --namespace tally --kube-version 1.34.0 --values "helm/variants/$1.yaml" "${@:2}" |
    sed -e 's/[[:space:]]*$//' -e '/^$/d'
}

helm_lint() {
  local variant
  for variant in $(variants); do
    "$HELM" lint --strict --quiet --kube-version 1.34.0 helm --values "helm/variants/$variant.yaml" || return 1
  done
}

# Values that must be refused, and the words that say why.
helm_refuses() {
  local case status=0
  while IFS='|' read -r case words; do
    # shellcheck disable=SC2086
    if "$HELM" template tally helm --kube-version 1.34.0 --values helm/variants/minimal.yaml $case >"$folder/out" 2>&1; then
      echo "taken, and should not be: $case"
      status=1
    elif ! grep -qF -- "$words" "$folder/out"; then
      echo "$case is refused without saying: $words"
      head -n 3 "$folder/out"
      status=1
    fi
  done <<'CASES'
--set ingest.replicaz=3|replicaz
--set log.kafka=|log.kafka is required
--set access.usersSecret=|access.usersSecret is required
--set store.queryCredentialsSecret=|store.queryCredentialsSecret is required
--set aggregate.replicas=17|17 aggregators for 16 partitions
--set aggregate.autoscaling.enabled=true,aggregate.autoscaling.maxReplicas=17|17 aggregators for 16 partitions
--set query.terminationGracePeriodSeconds=60|must be more than 68
--set config.ingest.drain_timeout_ms=20000|must be more than 48
--set config.query.pg_listen=x:1|is set by the chart
--set config.query.flight_listen=x:1|is set by the chart
--set traces.endpoint=collector:4318|traces/endpoint
--set traces.oneIn=-1|traces/oneIn
--set config.alerts.webhooks=x|has secrets in it
--set log.options.sasl\.password=x|sasl.password
--set log.options.sasl\.jaas\.config=x|sasl.jaas.config
--set log.options.sasl\.oauthbearer\.config=x|sasl.oauthbearer.config
--set log.options.ssl\.key\.pem=x|ssl.key.pem
--set log.options.sasl\.oauthbearer\.assertion\.private\.key\.passphrase=x|key.passphrase
--set config.store.s3_options.secret_access_key=x|additional properties 'store'
--set image.tag=latest|/image/tag
--set ingest.resources.limits.memory=null|memory
CASES
  return "$status"
}

snapshots() {
  local variant status=0
  for variant in $(variants); do
    render "$variant" >"$folder/$variant.yaml"
    if [[ $update == --update ]]; then cp "$folder/$variant.yaml" "helm/snapshots/$variant.yaml"; fi
    diff -u "helm/snapshots/$variant.yaml" "$folder/$variant.yaml" || status=1
  done
  return "$status"
}

# That nothing is left out unseen: kinds of the two examples that have everything, and a dashboard for each file.
whole() {
  local kinds found status=0
  for kinds in production:StatefulSet production:PrometheusRule production:ServiceMonitor production:Pod \
    production:HorizontalPodAutoscaler production:PodDisruptionBudget production:NetworkPolicy air-gapped:Deployment; do
    if ! grep -q "^kind: ${kinds#*:}\$" "helm/snapshots/${kinds%:*}.yaml"; then
      echo "helm/snapshots/${kinds%:*}.yaml has no ${kinds#*:}"
      status=1
    fi
  done
  found=$(grep -c 'name: tally-dashboard-' helm/snapshots/production.yaml || true)
  if [[ $found != $(find helm/dashboards -name '*.json' | wc -l) ]]; then
    echo "helm/snapshots/production.yaml has $found dashboards"
    status=1
  fi
  # Without a workload of its own the janitor runs in the aggregators, which are told otherwise where there is one.
  if ! grep -q TALLY_AGGREGATE__JANITOR_INTERVAL_MS helm/snapshots/production.yaml; then
    echo 'helm/snapshots/production.yaml: aggregators run the janitor beside its own workload'
    status=1
  fi
  render production --set janitor.enabled=false >"$folder/no-janitor.yaml"
  if grep -E 'component: janitor|TALLY_AGGREGATE__JANITOR_INTERVAL_MS' "$folder/no-janitor.yaml"; then
    echo 'with janitor.enabled=false there is a janitor of its own, or none at all'
    status=1
  fi
  return "$status"
}

# kubeconform with the schemas that kubernetes-validate brings, of the oldest Kubernetes that the chart is for and the
# newest there is. They refer to one another by addresses on the web: here, by the files beside them. What is broken on
# purpose must be found.
conform() {
  local all schemas version status=0
  all=$("$CHART_PYTHON" -c 'import kubernetes_validate, pathlib; print(pathlib.Path(kubernetes_validate.__file__).parent)')
  all+=/kubernetes-json-schema
  sed -e 's/maxSurge:/maxSurgee:/' helm/snapshots/minimal.yaml >"$folder/misspelt.yaml"
  for version in 1.30.0 "$(basename -s -local-strict -a "$all"/v*-local-strict | sed 's/^v//' | sort -V | tail -n 1)"; do
    schemas=$folder/schemas-$version
    mkdir "$schemas"
    cp "$all/v$version-local-strict/"*.json "$schemas"
    # shellcheck disable=SC2016  # $id is a word of JSON Schema
    sed -i -e 's|"/api/_definitions.json#|"_definitions.json#|' -e 's|"$id": "https:|"$comment": "https:|' "$schemas"/*.json
    conforms "$version" helm/snapshots/*.yaml || status=1
    if conforms "$version" "$folder/misspelt.yaml" >/dev/null; then
      echo "Kubernetes $version: a misspelt field is not found"
      status=1
    fi
  done
  return "$status"
}

# conforms VERSION FILE…; kinds of the Prometheus operator have no schema here.
conforms() {
  local version=$1
  shift
  "$KUBECONFORM" -strict -summary -kubernetes-version "$version" -skip ServiceMonitor,PrometheusRule \
    -schema-location "$folder/schemas-$version/{{ .ResourceKind }}{{ .KindSuffix }}.json" "$@"
}

manifests() {
  render production --set janitor.enabled=false >"$folder/no-janitor.yaml"
  "$CHART_PYTHON" scripts/chart/check_manifests.py helm/snapshots/*.yaml "$folder/no-janitor.yaml" &&
    "$CHART_PYTHON" scripts/chart/check_manifests.py --self-test helm/snapshots/minimal.yaml helm/snapshots/production.yaml
}

# The rules as they are, as the chart renders them, and their tests.
rules() {
  "$CHART_PYTHON" - helm/snapshots/production.yaml >"$folder/rendered.yaml" <<'PYTHON'
import sys
import yaml

for found in yaml.safe_load_all(open(sys.argv[1], encoding="utf-8")):
    if found and found["kind"] == "PrometheusRule":
        yaml.safe_dump({"groups": found["spec"]["groups"]}, sys.stdout)
PYTHON
  "$PROMTOOL" check rules helm/rules/alerts.yaml "$folder/rendered.yaml" && "$PROMTOOL" test rules helm/tests/alerts.yaml
}

dashboards() {
  "$CHART_PYTHON" scripts/chart/make_dashboards.py --check &&
    "$CHART_PYTHON" scripts/chart/check_dashboards.py helm/dashboards/*.json &&
    "$CHART_PYTHON" scripts/chart/check_dashboards.py --self-test helm/dashboards/*.json
}

compose() {
  "$CHART_PYTHON" scripts/chart/check_compose.py compose.yaml
  "$PROMTOOL" check config --syntax-only operations/prometheus.yaml
}

if [[ $update == --update ]]; then
  "$CHART_PYTHON" scripts/chart/make_dashboards.py
  "$CHART_PYTHON" scripts/chart/values_page.py
fi
check 'helm lint --strict' helm_lint
check 'values that are refused' helm_refuses
check 'snapshots of what is rendered' snapshots
check 'everything is rendered' whole
check 'kubeconform' conform
check 'schemas of Kubernetes, Pod Security, rules of the chart' manifests
check 'alert rules and their tests' rules
check 'dashboards' dashboards
check 'README of the values' "$CHART_PYTHON" scripts/chart/values_page.py --check
check 'names: metrics, runbooks, settings, links' "$CHART_PYTHON" scripts/chart/check_names.py
check 'Dockerfile' "$CHART_VENV/bin/hadolint" Dockerfile
check 'compose.yaml' compose

if [[ ${#failed[@]} -gt 0 ]]; then
  printf '\nlint of the chart failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\nlint of the chart passed\n'
