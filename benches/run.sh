#!/usr/bin/env bash
# Measures the stream beside a null consumer and other engines, on one topic, in one run, and
# writes benches/RESULTS.md. Needs the peer kit (../shared/peers, or $PEERS_KIT) and about half an
# hour. benches/run.sh [ROUNDS]
set -euo pipefail
cd "$(dirname "$0")"
kit="${PEERS_KIT:-../../shared/peers}"
[ -f "$kit/env.sh" ] || { echo "the peer kit is not at $kit: set PEERS_KIT" >&2; exit 1; }
kit="$(cd "$kit" && pwd)"
rounds="${1:-3}"
export CARGO_TARGET_DIR="${TALLY_BENCH_TARGET:-${XDG_CACHE_HOME:-$HOME/.cache}/tally/bench}"
cargo build --release --locked --bins
stream="$CARGO_TARGET_DIR/release/stream"
"$kit/setup.sh" broker flink
# shellcheck source=/dev/null
source "$kit/env.sh"
"$kit/broker/broker.sh" start
trap '"$kit/broker/broker.sh" stop' EXIT
[ -f "$PEERS_WORK/expected.json" ] || py base "$kit/gen.py" -n "$PEERS_EVENTS"
rm -f "$PEERS_WORK/results.jsonl"
export TALLY_AGGREGATE__SUBSCRIBER_WINDOW_MS=60000 TALLY_AGGREGATE__LATENESS_MS=30000
for round in $(seq "$rounds"); do
  RUN=$round "$kit/run.sh" null
  store="$PEERS_WORK/out-tally"
  rm -rf "$store"
  py base "$kit/measure.py" tally --run "$round" --out "$store/tables/usage_by_subscriber" -- \
    "$stream" "$PEERS_BOOTSTRAP" "$PEERS_TOPIC" "$store"
  [ "$round" -gt 1 ] || RUN=$round "$kit/run.sh" flink-stream flink-sql-ttl
done
py base "$kit/report.py"
py base ./report.py "$PEERS_WORK/results.jsonl"
