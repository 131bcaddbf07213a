#!/usr/bin/env bash
# An hour of synthetic traffic through every role in one process, then what can be seen of it.
set -euo pipefail
cd "$(dirname "$0")/.."
tally="$1"
work="$(mktemp -d)"
up=""
finish() {
  [ -z "$up" ] || { kill "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; }
  rm -rf "$work"
}
trap finish EXIT
heading() { printf '\n\033[1m%s\033[0m\n' "$*"; }
free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

http="127.0.0.1:$(free_port)" pg="127.0.0.1:$(free_port)"
export TALLY_LOG__DATA="$work/data" TALLY_LOG__PARTITIONS=4 TALLY_AGGREGATE__FRESHNESS_MS=1000
heading "Every role in one process, on an embedded log and a local folder"
"$tally" up --listen "$http" --pg-listen "$pg" >"$work/up.out" 2>"$work/up.err" &
up=$!
for _ in $(seq 100); do
  curl -sf "http://$http/readyz" >/dev/null && break
  kill -0 "$up" 2>/dev/null || { cat "$work/up.err" >&2; exit 1; }
  sleep 0.1
done
cat "$work/up.out"

heading "An hour of traffic: 200,000 events of 30 models of 10 vendors, with duplicates, late and bad ones"
"$tally" generate --events 200000 --seed 7 --accounts 20000 --dup-rate 0.01 --late-rate 0.005 \
  --bad-rate 0.0005 --out http --url "http://$http" --truth "$work/truth.json"

traces=../shared/data/traces/mooncake_conversation.jsonl
if [ -f "$traces" ]; then
  heading "An hour of real requests to Kimi, replayed"
  TALLY_REPLAY_TRUTH="$work/replay.json" "$tally" replay "$traces" --format mooncake --speed max \
    --out http --url "http://$http"
else
  echo "(no recorded traces beside the project: replay left out)"
fi

heading "Waiting until everything is committed and published"
for _ in $(seq 300); do
  "$tally" status --json >"$work/status.json" 2>/dev/null || true
  python3 - "$work/status.json" <<'P' && break
import json, sys
s = json.load(open(sys.argv[1]))
sys.exit(0 if s["lag_events"] == 0 and s["unpublished_epochs"] == 0 else 1)
P
  sleep 0.2
done
