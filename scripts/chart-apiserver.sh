#!/usr/bin/env bash
# Installs the chart into a real Kubernetes without nodes: kube-apiserver, its controllers and etcd, built from their Go
# modules once, under PodSecurity admission "restricted". Pods are admitted and never run.
#
#   scripts/chart-apiserver.sh           upgrades, rolls back and uninstalls too; breaks the chart to see it refused
#   scripts/chart-apiserver.sh --fetch   only builds the tools, once, into the cache
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck disable=SC2034
NAME=chart-apiserver
# shellcheck source=scripts/server.bash
source scripts/server.bash
# shellcheck source=scripts/chart/tools.sh
source scripts/chart/tools.sh
command -v openssl >/dev/null || die 'openssl is missing'
fetch_helm
make_chart_venv
fetch_kubernetes
if [[ ${1:-} == --fetch ]]; then exit; fi

umask 077
folder=$(mktemp -d)
mkdir "$folder/pki" "$folder/logs"
pids=()
# Nothing of theirs is kept, so nobody waits for them to say goodbye.
stop_servers() {
  if [[ ${#pids[@]} -gt 0 ]]; then
    kill -KILL "${pids[@]}" 2>/dev/null || true
    wait "${pids[@]}" 2>/dev/null || true
  fi
  rm -rf "$folder"
}
trap stop_servers EXIT
trap 'exit 130' INT TERM

# One authority for all: `server` is what listens, `admin` is whoever asks. Each step by `&&`: it is called in a condition,
# where a failure ends nothing.
certificates() {
  local key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${key[@]}" -days 2 -subj /CN=chart-apiserver -keyout ca.key -out ca.crt &&
    openssl req -x509 -CA ca.crt -CAkey ca.key "${key[@]}" -days 2 -subj /CN=server -keyout server.key -out server.crt \
      -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=CA:FALSE -addext extendedKeyUsage=serverAuth,clientAuth &&
    openssl req -x509 -CA ca.crt -CAkey ca.key "${key[@]}" -days 2 -subj /O=system:masters/CN=admin -keyout admin.key \
      -out admin.crt -addext basicConstraints=CA:FALSE -addext extendedKeyUsage=clientAuth &&
    openssl genrsa -out accounts.key 2048 &&
    openssl rsa -in accounts.key -pubout -out accounts.pub
}

# launch PROGRAM ARGUMENT…
launch() {
  local program=$1
  shift
  "$KUBERNETES/$program" "$@" >"$folder/logs/$program" 2>&1 </dev/null &
  pids+=($!)
}

# await PROGRAM URL: until it says that it is well, or has ended.
await() {
  local pid=${pids[-1]}
  for _ in {1..240}; do
    if curl -sf -o /dev/null --cacert "$pki/ca.crt" --cert "$pki/admin.crt" --key "$pki/admin.key" "$2"; then return; fi
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.5
  done
  tail -n 20 "$folder/logs/$1" >&2
  die "$1 does not start"
}

pki=$folder/pki
if ! (cd "$pki" && certificates >"$folder/logs/openssl" 2>&1); then
  cat "$folder/logs/openssl" >&2
  die 'no certificates'
fi

store=https://127.0.0.1:$(free_port)
peers=http://127.0.0.1:$(free_port)
launch etcd --name chart --data-dir "$folder/etcd" --unsafe-no-fsync --log-level warn \
  --listen-client-urls "$store" --advertise-client-urls "$store" \
  --listen-peer-urls "$peers" --initial-advertise-peer-urls "$peers" --initial-cluster "chart=$peers" \
  --cert-file "$pki/server.crt" --key-file "$pki/server.key" --client-cert-auth --trusted-ca-file "$pki/ca.crt"
await etcd "$store/health"

port=$(free_port)
launch kube-apiserver --bind-address 127.0.0.1 --advertise-address 127.0.0.1 --secure-port "$port" \
  --etcd-servers "$store" --etcd-cafile "$pki/ca.crt" --etcd-certfile "$pki/admin.crt" --etcd-keyfile "$pki/admin.key" \
  --cert-dir "$pki" --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key" \
  --client-ca-file "$pki/ca.crt" --authorization-mode RBAC --service-cluster-ip-range 10.96.0.0/16 \
  --service-account-issuer https://kubernetes.default.svc --service-account-key-file "$pki/accounts.pub" \
  --service-account-signing-key-file "$pki/accounts.key" --endpoint-reconciler-type none
await kube-apiserver "https://127.0.0.1:$port/readyz"

cat >"$folder/kubeconfig" <<YAML
apiVersion: v1
kind: Config
current-context: chart
contexts: [{ name: chart, context: { cluster: chart, user: admin } }]
clusters: [{ name: chart, cluster: { server: "https://127.0.0.1:$port", certificate-authority: "$pki/ca.crt" } }]
users: [{ name: admin, user: { client-certificate: "$pki/admin.crt", client-key: "$pki/admin.key" } }]
YAML
controllers_port=$(free_port)
launch kube-controller-manager --kubeconfig "$folder/kubeconfig" --leader-elect=false --root-ca-file "$pki/ca.crt" \
  --service-account-private-key-file "$pki/accounts.key" --bind-address 127.0.0.1 --secure-port "$controllers_port" \
  --cert-dir "$pki" --client-ca-file "$pki/ca.crt" --tls-cert-file "$pki/server.crt" --tls-private-key-file "$pki/server.key"
await kube-controller-manager "https://127.0.0.1:$controllers_port/healthz"

# Where Helm keeps what it keeps: nothing of the person's own is read.
export HELM_CACHE_HOME=$folder/cache HELM_CONFIG_HOME=$folder/config HELM_DATA_HOME=$folder/data
export KUBECONFIG=$folder/kubeconfig
"$CHART_PYTHON" scripts/chart/check_install.py "$HELM" "$KUBECONFIG"
