#!/usr/bin/env bash
# Measures everything of benches/RESULTS.md and writes it: the stream beside a null consumer and other engines on one
# topic, the door, recovery, memory over time, SQL beside DuckDB. Needs the peer kit (../shared/peers, or
# $PEERS_KIT), an otherwise idle machine, and hours: on two cores four or more for all parts, which is reckoned from the parts, and
# the builds before the first. A part alone takes minutes to half an hour; accounts, and a month of 100 M events, longer.
#
#   benches/run.sh [PART…]     stream door recovery rating quota alerts reconcile rerate month sql accounts restart observe
#                              steady stages; nothing named = all, then the report
#
# ROUNDS (3): rounds of the stream. STEADY_RATE (0): events a second of the steady run, 0 for half of what generator, broker and
# stream reach together, which it measures first; STEADY_SECONDS (600): how long it is.
# ALERT_RATE (half), ALERT_SECONDS (60): events a second beside the alerts that are timed, and for how long; half of the
# largest rate, which is measured just before.
# ACCOUNTS (1000000,50000000): accounts that are known, a run each; 50 M need 10 GiB of memory and of disk.
# RECONCILE_RECORDS (10000000): records on each side of a reconciliation.
# RERATE_EVENTS (10000000): events of a month that is rated again.
# MONTH_EVENTS (10000000): events of the month that is settled, and MONTH_REPEAT_EVENTS (300000) of the one that is settled
# fifty times. 100 M go through Kafka, and need some 25 GB of disk.
# RESTART_RATE (70000), RESTART_SECONDS (120): the load under which all aggregators are restarted, and for how long.
# OBSERVE_ROUNDS (12): rounds with and without metrics and traces.
set -euo pipefail
cd "$(dirname "$0")"
kit="${PEERS_KIT:-../../shared/peers}"
[[ -f $kit/env.sh ]] || { echo "the peer kit is not at $kit: set PEERS_KIT" >&2; exit 1; }
kit="$(cd "$kit" && pwd)"
cache="${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}"
make -s -C .. release
tally="${TALLY_RELEASE_TARGET:-$cache/release}/release/tally"
# The clients, which are not measured, in a folder of their own: they are built with other flags.
export CARGO_TARGET_DIR="${TALLY_BENCH_TARGET:-$cache/bench}"
cargo build --release --locked --bin door_load --bin rebatch --bin alert_probe --bin quota_load --bin sell
"$kit/setup.sh" broker flink sql
# shellcheck source=/dev/null
source "$kit/env.sh"
results="$cache/bench-results"
work="$PEERS_WORK/tally"
mkdir -p "$results" "$work"
"$kit/broker/broker.sh" start
trap '"$kit/broker/broker.sh" stop' EXIT

# Without rating: the kit's models are nobody's, and the other engines only count.
part_stream() {
  [[ -f $PEERS_WORK/expected.json ]] || py base "$kit/gen.py" -n "$PEERS_EVENTS"
  [[ -f $PEERS_WORK/batches-made ]] || {
    "$CARGO_TARGET_DIR/release/rebatch" "$PEERS_BOOTSTRAP" "$PEERS_TOPIC" usage.batches 500
    touch "$PEERS_WORK/batches-made"
  }
  rm -f "$PEERS_WORK/results.jsonl"
  local round topic store
  for round in $(seq "${ROUNDS:-3}"); do
    RUN=$round "$kit/run.sh" null
    for topic in "$PEERS_TOPIC" usage.batches; do
      store="$work/store"
      rm -rf "$store"
      TALLY_LOG__KAFKA=$PEERS_BOOTSTRAP TALLY_LOG__TOPIC=$topic TALLY_LOG__GROUP=bench-$RANDOM \
        TALLY_STORE__URL=$store TALLY_AGGREGATE__SUBSCRIBER_WINDOW_MS=60000 TALLY_AGGREGATE__LATENESS_MS=30000 \
        TALLY_AGGREGATE__RATE=false \
        py base "$kit/measure.py" "tally ${topic#usage.}" --run "$round" \
        --out "$store/tables/usage_by_subscriber" -- "$tally" aggregate --until-end
    done
    if [[ $round == 1 ]]; then RUN=1 "$kit/run.sh" flink-stream flink-sql-ttl; fi
  done
  cp "$PEERS_WORK/results.jsonl" "$results/stream.jsonl"
}

part_door() {
  rm -rf "$results/door.jsonl"
  drop_topics door.
  py base door.py "$tally" "$CARGO_TARGET_DIR/release/door_load" "$PEERS_BOOTSTRAP" "$work" "$results/door.jsonl"
  drop_topics door.
}

part_recovery() {
  rm -rf "$work/recovery" "$results/recovery.jsonl"
  py base recovery.py "$tally" "$CARGO_TARGET_DIR/release/sell" "$PEERS_BOOTSTRAP" "$work" "$results/recovery.jsonl"
  rm -rf "$work/recovery"
  drop_topics recovery.
}

part_rating() {
  rm -rf "$work/rating" "$results/rating.jsonl"
  py base rating.py "$tally" "$CARGO_TARGET_DIR/release/sell" "$PEERS_BOOTSTRAP" "$work" "$results/rating.jsonl"
  drop_topics rating.
}

part_reconcile() {
  rm -rf "$work/reconcile" "$results/reconcile.jsonl"
  py sql reconcile.py "$tally" "$work/reconcile" "$results/reconcile.jsonl" "${RECONCILE_RECORDS:-10000000}"
}

part_rerate() {
  rm -rf "$work/rerate" "$results/rerate.jsonl"
  py sql rerate.py "$tally" "$work/rerate" "$results/rerate.jsonl" "${RERATE_EVENTS:-10000000}"
}

part_month() {
  rm -rf "$work/month" "$results/month.jsonl"
  py sql month.py "$tally" "$work/month" "$results/month.jsonl" "${MONTH_EVENTS:-10000000}" \
    "${MONTH_REPEAT_EVENTS:-300000}" "$PEERS_BOOTSTRAP"
  drop_topics month.
}

# Topics of a name of their own, which nobody reads again, would keep gigabytes.
drop_topics() {
  py base - "$PEERS_BOOTSTRAP" "$1" <<'PYTHON'
import sys
from confluent_kafka.admin import AdminClient
admin = AdminClient({"bootstrap.servers": sys.argv[1]})
names = [name for name in admin.list_topics(timeout=10).topics if name.startswith(sys.argv[2])]
for future in (admin.delete_topics(names) if names else {}).values():
    future.result()
PYTHON
}

part_restart() {
  rm -rf "$work/restart" "$results/restart.jsonl"
  py base restart.py "$tally" "$CARGO_TARGET_DIR/release/alert_probe" "$PEERS_BOOTSTRAP" "$work" "$results/restart.jsonl" \
    "${RESTART_RATE:-70000}" "${RESTART_SECONDS:-120}"
}

part_observe() {
  rm -rf "$work/observe" "$results/observe.jsonl"
  py base observe.py "$tally" "$CARGO_TARGET_DIR/release/door_load" "$PEERS_BOOTSTRAP" "$work" "$results/observe.jsonl" \
    "${OBSERVE_ROUNDS:-12}"
}

part_quota() {
  rm -rf "$work/quota" "$results/quota.jsonl"
  py base quota.py "$tally" "$PEERS_BOOTSTRAP" "$work" "$results/quota.jsonl" "$CARGO_TARGET_DIR/release/quota_load"
}

part_alerts() {
  rm -rf "$work"/alerts-* "$results/alerts.jsonl"
  py base alerts.py "$tally" "$CARGO_TARGET_DIR/release/alert_probe" "$CARGO_TARGET_DIR/release/sell" "$PEERS_BOOTSTRAP" "$work" \
    "$results/alerts.jsonl" "${ALERT_RATE:-half}" "${ALERT_SECONDS:-60}"
  drop_topics latency.
}

part_accounts() {
  rm -rf "$work/accounts" "$results/accounts.jsonl"
  drop_topics accounts.
  py base accounts.py "$tally" "$PEERS_BOOTSTRAP" "$work/accounts" "$results/accounts.jsonl" "$CARGO_TARGET_DIR/release/sell"
  rm -rf "$work/accounts"
  drop_topics accounts.
}

part_steady() {
  rm -rf "$work/steady" "$results/steady.jsonl"
  drop_topics steady.
  py base steady.py "$tally" "$PEERS_BOOTSTRAP" "$work" "$results/steady.jsonl" \
    "${STEADY_RATE:-0}" "${STEADY_SECONDS:-600}"
  rm -rf "$work/steady"
  drop_topics steady.
}

part_sql() {
  [[ -d $PEERS_WORK/sql-data ]] || py sql "$kit/sql_gen.py"
  py sql sql.py "$tally" "$results/sql.jsonl"
}

part_stages() {
  cargo bench --locked --bench stages
  py base - "$CARGO_TARGET_DIR/criterion" "$results/stages.jsonl" <<'PYTHON'
import json, pathlib, sys
folder, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
with out.open("w") as lines:
    for file in sorted(folder.rglob("new/benchmark.json")):
        about = json.loads(file.read_text())
        estimate = json.loads((file.parent / "estimates.json").read_text())["median"]["point_estimate"]
        elements = (about["throughput"] or {}).get("Elements", 1)
        print(json.dumps({"stage": about["function_id"] or about["group_id"], "ns": estimate / elements}), file=lines)
PYTHON
}

[[ $# -gt 0 ]] || set -- stream door recovery rating quota alerts reconcile rerate month sql accounts restart observe steady stages
for part in "$@"; do
  rm -f "$results/$part.measured"
  "part_$part"
  # The report may be made on another day, and elsewhere.
  python3 machine.py now >"$results/$part.measured"
done
py base report.py "$results" RESULTS.md
