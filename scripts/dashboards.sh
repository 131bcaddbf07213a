#!/usr/bin/env bash
# Runs every query of the dashboards and every alert rule against a real Prometheus that scrapes a real `tally up`.
#
#   scripts/dashboards.sh [TALLY]     TALLY is the program; without it, the one of `cargo build`
#
# Brings up both on free ports, feeds a minute of traffic, and always stops them. Needs Prometheus (Debian's package,
# fetched by scripts/chart/tools.sh), psql and the Python environment of the chart's checks.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
NAME=dashboards
# shellcheck source=scripts/server.bash
source scripts/server.bash
# shellcheck source=scripts/chart/tools.sh
source scripts/chart/tools.sh
SECONDS_OF_TRAFFIC=${SECONDS_OF_TRAFFIC:-45}

tally=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/tally}")
[[ -x $tally ]] || die "$tally is not there: cargo build, or name another"
command -v psql >/dev/null || die 'psql is missing; install it with: apt-get install -y postgresql-client (or: make setup)'
fetch_prometheus
make_chart_venv

folder=$(mktemp -d)
pids=()
stop_all() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  wait "${pids[@]}" 2>/dev/null || true
  rm -rf "$folder"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

http=$(free_port)
pg=$(free_port)
web=$(free_port)
secret="whsec_$(head -c 32 /dev/urandom | base64 -w 0)"
python3 scripts/receive_alerts.py "$secret" 0 >"$folder/alerts" &
pids+=($!)
for _ in {1..100}; do [[ -s $folder/alerts ]] && break; sleep 0.1; done
printf '[alerts]\nallow_private = true\n[[alerts.webhooks]]\nurl = "%s"\nsecret = "%s"\n' \
  "$(head -n 1 "$folder/alerts")" "$secret" >"$folder/tally.toml"
(cd "$folder" && exec "$tally" up --data data --listen "127.0.0.1:$http" --pg-listen "127.0.0.1:$pg" --flight-listen 127.0.0.1:0) >"$folder/tally.log" 2>&1 &
pids+=($!)
cat >"$folder/prometheus.yml" <<YAML
global: { scrape_interval: 2s, evaluation_interval: 2s }
rule_files: [$PWD/helm/rules/alerts.yaml]
scrape_configs:
  - job_name: tally
    static_configs: [{ targets: ["127.0.0.1:$http"], labels: { namespace: test, pod: up } }]
YAML
"$PROMTOOL" check config "$folder/prometheus.yml" >/dev/null || die 'promtool does not take the configuration'
"$PROMETHEUS" --config.file="$folder/prometheus.yml" --storage.tsdb.path="$folder/tsdb" \
  --web.listen-address="127.0.0.1:$web" --log.level=warn >"$folder/prometheus.log" 2>&1 &
pids+=($!)
for port in "$http" "$pg" "$web"; do
  for _ in {1..300}; do port_is_open "$port" && break; sleep 0.1; done
  port_is_open "$port" || { cat "$folder"/*.log >&2; die "nothing listens on $port"; }
done

say "feeding $SECONDS_OF_TRAFFIC s of traffic"
rate=500
python3 scripts/sell.py "127.0.0.1:$http" 300 >"$folder/sell.log" || { cat "$folder/sell.log" >&2; die 'nothing was sold'; }
# Beside it, what gateways and people ask, an event of nobody's account, and one of an account that has bought nothing, which
# nobody pays for: everything else may well stay within its packages.
while sleep 1; do
  curl -s "http://127.0.0.1:$http/v1/events" -H 'content-type: application/json' -d '{"source":"gw-1"}'
  curl -s "http://127.0.0.1:$http/v1/events" -H 'content-type: application/json' \
    -d "{\"source\":\"gw-1\",\"id\":\"unsold-$(date +%s%N)\",\"account\":\"UNSOLD\",\"model\":\"glm-5\",\"completed_at\":$(date +%s000),\"usage\":{\"input\":7}}"
  curl -s "http://127.0.0.1:$http/v1/sql" -H 'content-type: application/json' -d '{"query":"SELECT count(*) FROM usage_events"}'
  for account in A000000000 A000000010; do curl -s "http://127.0.0.1:$http/v1/accounts/$account/quota"; done
done >"$folder/asked.log" &
pids+=($!)
"$tally" generate --events $((rate * SECONDS_OF_TRAFFIC)) --rate "$rate" --seed 7 --accounts 300 --dup-rate 0.01 --bad-rate 0.001 \
  --out http --url "http://127.0.0.1:$http" >"$folder/generate.log" 2>&1 || { cat "$folder/generate.log" >&2; die 'the traffic was not taken'; }
say 'asking'
"$CHART_PYTHON" scripts/chart/run_queries.py "http://127.0.0.1:$web" "$pg"
