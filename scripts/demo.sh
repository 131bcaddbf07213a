#!/usr/bin/env bash
# An hour of traffic through every role in one process, and what can be seen of it.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tally/target}"
tally="$target/debug/tally"
export CARGO_TARGET_DIR="$target"
cargo build --locked
work="$(mktemp -d)"
up=""
finish() {
  [ -z "$up" ] || { kill "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; }
  rm -rf "$work"
}
trap finish EXIT
if [ -t 1 ]; then bold=$'\033[1m' plain=$'\033[0m'; else bold="" plain=""; fi
heading() { printf '\n%s== %s%s\n' "$bold" "$*" "$plain"; }
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
metric() { curl -sf "http://$http/metrics" | awk -v name="$1" '$1 ~ "^" name { sum += $2 } END { print sum + 0 }'; }
# Everything that the door has accepted is committed and published.
settled() {
  for _ in $(seq 600); do
    [ "$(metric tally_stream_records_total)" -gt 0 ] && [ "$(metric tally_lag_events)" = 0 ] && {
      sleep 2
      return
    }
    sleep 0.2
  done
  echo "the stream did not come to rest within two minutes" >&2
  cat "$work/up.err" >&2
  exit 1
}
sql() { "$tally" sql "$1"; }

http="127.0.0.1:$(free_port)"
pg="127.0.0.1:$(free_port)"
export TALLY_LOG__DATA="$work/data" TALLY_LOG__PARTITIONS=4 TALLY_AGGREGATE__FRESHNESS_MS=1000
export TALLY_HTTP__LISTEN="$http" TALLY_QUERY__PG_LISTEN="$pg"

heading "Every role in one process: the door, an embedded log, the stream, SQL"
"$tally" up >"$work/up.out" 2>"$work/up.err" &
up=$!
for _ in $(seq 100); do
  curl -sf "http://$http/readyz" >/dev/null 2>&1 && break
  kill -0 "$up" 2>/dev/null || { cat "$work/up.err" >&2; exit 1; }
  sleep 0.1
done
sed "s#$work#DIR#g" "$work/up.out"

heading "An hour of traffic of 20,000 accounts: 30 models of 10 vendors, duplicates, late and bad events"
"$tally" generate --events 200000 --seed 7 --accounts 20000 --dup-rate 0.01 --late-rate 0.005 \
  --bad-rate 0.0005 --out http --truth "$work/truth.json"
settled

heading "The tables equal the generator's own count, to the token"
"$tally" verify --truth "$work/truth.json"

trace=../shared/data/traces/mooncake_conversation.jsonl
if [ -f "$trace" ]; then
  heading "An hour of real requests to Kimi, replayed"
  "$tally" replay "$trace" --format mooncake --speed max --out http
  settled
else
  echo "(no recorded traces beside the project: the replay is left out)"
fi

heading "Usage by vendor and model (psql, over the PostgreSQL wire where it is installed)"
query="SELECT vendor, model, sum(events) AS events, sum(input) AS input, sum(cached_input) AS cached,
  sum(output) AS output FROM usage_by_model GROUP BY vendor, model ORDER BY output DESC LIMIT 12"
if command -v psql >/dev/null; then
  psql -X -h "${pg%:*}" -p "${pg#*:}" -U tally -d tally -c "$query"
else
  sql "$query"
fi

heading "The top subscribers"
sql "SELECT account, subscriber, count(*) AS events, sum(input + cached_input + output) AS tokens
  FROM usage_events GROUP BY account, subscriber ORDER BY tokens DESC LIMIT 8"

heading "What is held back, and why"
sql "SELECT reason, count(*) AS events, min(substr(subreason, 1, 72)) AS for_example
  FROM suspense GROUP BY reason ORDER BY events DESC"

heading "Stopped; every invariant over ledger, state and tables"
kill "$up"
wait "$up" || { cat "$work/up.err" >&2; exit 1; }
up=""
"$tally" status
"$tally" verify
