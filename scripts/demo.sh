#!/usr/bin/env bash
# An hour of traffic through every role in one process, and what can be seen of it.
set -euo pipefail
cd "$(dirname "$0")/.."
target="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/tally/target}"
tally="$target/debug/tally"
export CARGO_TARGET_DIR="$target"
# With the dependencies' features as the tests build them, so that they are built once.
cargo build --locked -p tally -p tally-deps
work="$(mktemp -d)"
up="" receiver="" watcher=""
finish() {
  [ -z "$watcher" ] || { kill "$watcher" 2>/dev/null || true; wait "$watcher" 2>/dev/null || true; }
  [ -z "$up" ] || { kill "$up" 2>/dev/null || true; wait "$up" 2>/dev/null || true; }
  [ -z "$receiver" ] || { kill "$receiver" 2>/dev/null || true; wait "$receiver" 2>/dev/null || true; }
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
export TALLY_HTTP__LISTEN="$http" TALLY_QUERY__PG_LISTEN="$pg" TALLY_QUERY__FLIGHT_LISTEN=127.0.0.1:0

# Somebody who gets alerts, and the signed webhook that takes them there.
secret="whsec_$(python3 -c 'import base64, os; print(base64.b64encode(os.urandom(32)).decode())')"
python3 scripts/receive_alerts.py "$secret" 8 >"$work/alerts" &
receiver=$!
for _ in $(seq 100); do
  [ -s "$work/alerts" ] && break
  sleep 0.1
done
printf '[alerts]\nallow_private = true\n[[alerts.webhooks]]\nurl = "%s"\nsecret = "%s"\n' \
  "$(head -n 1 "$work/alerts")" "$secret" >"$work/tally.toml"

heading "Every role in one process: the door, an embedded log, the stream, SQL"
"$tally" up --config "$work/tally.toml" >"$work/up.out" 2>"$work/up.err" &
up=$!
for _ in $(seq 100); do
  curl -sf "http://$http/readyz" >/dev/null 2>&1 && break
  kill -0 "$up" 2>/dev/null || { cat "$work/up.err" >&2; exit 1; }
  sleep 0.1
done
sed "s#$work#DIR#g" "$work/up.out"

heading "Packages for 20,000 subscribers: account commands"
python3 scripts/sell.py "$http" 20000

heading "An hour of traffic of 20,000 accounts: 30 models of 10 vendors, duplicates, late and bad events"
# The first alerts come from the webhook while the traffic comes in.
tail -n +2 -f "$work/alerts" &
watcher=$!
"$tally" generate --events 200000 --seed 7 --accounts 20000 --dup-rate 0.01 --late-rate 0.005 \
  --bad-rate 0.0005 --out http --truth "$work/truth.json" --control-totals "$work/totals.ndjson"
settled
kill "$watcher"
wait "$watcher" || true
watcher=""
echo "  … $(metric tally_alerts_total) alerts so far"

heading "The tables equal the generator's own count, to the token"
"$tally" verify --truth "$work/truth.json"

heading "Twenty photo cut-outs at 31,000 points each, from a gift of 500,000: the seventeenth is split"
now="$(date +%s)000"
for n in $(seq 20); do
  printf '{"source":"gw-photo","id":"cutout-%s","account":"A000000010","model":"photo-cutout-1","product":"photo-cutout",
    "completed_at":%s,"usage":{"requests":1},"gateway_epoch":1,"gateway_seq":%s}\n' "$n" "$((now + n))" "$((n < 12 ? n : n + 1))" | tr -d '\n '
  echo
done >"$work/cutouts.ndjson"
curl -sf "http://$http/v1/events" -H 'content-type: application/x-ndjson' --data-binary @"$work/cutouts.ndjson"
echo
settled

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

heading "What is left of that account, as a gateway asks for it: exact as of an offset"
curl -sf "http://$http/v1/accounts/A000000010/quota" | python3 -m json.tool

heading "A bucket that was used up, and its alerts"
sql "SELECT event_id, package, kind, points, amount, balance_after FROM quota_ledger
  WHERE event_source = 'gw-photo' AND event_id IN ('cutout-16', 'cutout-17', 'cutout-18') ORDER BY event_id, points DESC"
sql "SELECT kind, threshold, package, count(*) AS alerts, count(superseded_by) AS superseded
  FROM alerts GROUP BY kind, threshold, package ORDER BY alerts DESC LIMIT 12"

heading "Margin by package (a package of 9.90 yuan for 10 million tokens loses money on most models)"
sql "SELECT * FROM settlement.margin_by_package ORDER BY margin LIMIT 8"

heading "Margin by model"
sql "SELECT vendor, model, wholesale_currency AS cost_in, sum(events) AS events, sum(retail_amount) AS revenue_cny,
    sum(wholesale_amount) AS cost FROM usage_by_model GROUP BY 1, 2, 3 ORDER BY cost DESC LIMIT 10"

heading "What a million cached tokens of V4-Pro cost around nine o'clock on a Tuesday, and on a holiday"
for at in 2026-09-29T08:59:59.999 2026-09-29T09:00:00.000 2026-10-01T10:00:00.000; do
  printf '{"source":"demo","id":"%s","account":"A1","model":"deepseek-v4-pro","completed_at":"%s+08:00","usage":{"cached_input":1000000}}\n' \
    "$at" "$at"
done | "$tally" rate -

heading "A price that rises: one person imports it, another approves it, and the running stream takes it"
cat >"$work/rise.csv" <<CSV
price_id,side,vendor,model_pattern,class,unit,currency,price_micro_per_million,valid_from,valid_to,source
glm-5.input,wholesale,zhipu,glm-5,input,token,CNY,6000000,2026-02-01,$(date -d '+1 day' +%F),until the rise of the demo
glm-5.input.2,wholesale,zhipu,glm-5,input,token,CNY,8000000,$(date -d '+1 day' +%F),,notice of the demo
CSV
"$tally" price import "$work/rise.csv" --by lin
"$tally" price approve "$work/rise.csv" --by lin || echo "(exit code $?)"
"$tally" price approve "$work/rise.csv" --by chen

heading "Settlement terms: one person imports them, another approves them"
# Yours take the place of the example's, whose approval is nobody's.
"$tally" contract import settlement/data/settlement.toml --by lin
"$tally" contract approve settlement/data/settlement.toml --by chen

heading "What is owed to a vendor this month, so far: a draft that foots"
"$tally" settle statement --vendor deepseek --period "$(TZ=Asia/Shanghai date +%Y-%m)" --lang en >"$work/statement.csv"
python3 scripts/show_statement.py "$work/statement.csv" 8

heading "Last month: one person puts it into review, another seals the statements of all vendors"
last="$(TZ=Asia/Shanghai date -d "$(TZ=Asia/Shanghai date +%Y-%m-15) -1 month" +%Y-%m)"
"$tally" generate --events 30000 --seed 8 --accounts 5000 --start "$last-10T09:00:00+08:00" --span 8h --out http \
  --control-totals "$work/last.ndjson"
cat "$work/last.ndjson" >>"$work/totals.ndjson"
settled
"$tally" settle close --period "$last" --by lin
"$tally" settle approve --period "$last" --by lin || echo "(exit code $?)"
"$tally" settle approve --period "$last" --by chen | head -n 4
sql "SELECT vendor, currency, net, tax, gross, total_in_words FROM settlement.statements ORDER BY gross DESC"

heading "One of them, and its largest line walked down to the events"
"$tally" settle statement --vendor zhipu --period "$last" --lang en >"$work/sealed.csv"
python3 scripts/show_statement.py "$work/sealed.csv" 6
line="$("$tally" sql "SELECT line_id FROM settlement.statement_lines WHERE vendor = 'zhipu' AND kind = 'line'
  ORDER BY gross DESC LIMIT 1" --format csv | tail -n 1)"
"$tally" settle events --vendor zhipu --period "$last" --line "$line" --format csv | head -n 4

heading "The vendor's bill for it, with six mistakes planted, all of which are found and named"
"$tally" sql "SELECT vendor_request_id AS request_id, completed_at, billed_model AS model, service_tier,
    wholesale_amount AS amount, wholesale_currency AS currency, input AS input_tokens, cached_input AS cached_tokens,
    cache_write_5m AS cache_write_5m_tokens, cache_write_1h AS cache_write_1h_tokens, output AS output_tokens,
    0 AS free_quota, usage_source, finish_reason
  FROM usage_events WHERE vendor = 'zhipu' AND shanghai_month(day) = DATE '$last-01' ORDER BY completed_at, id" \
  --format csv | python3 scripts/make_bill.py "$work/bill.csv" "$work/planted.json"
code=0
"$tally" settle reconcile "$work/bill.csv" --vendor zhipu --period "$last" --mapping records-csv --by lin \
  --out "$work/reconciled" >"$work/reconcile.out" 2>&1 || code=$?
sed "s#$work#DIR#g" "$work/reconcile.out"
# Outside of the tolerance, and by nothing but what was planted.
[ "$code" = 1 ] || { echo "exit code $code" >&2; exit 1; }
python3 scripts/check_bill.py "$work/planted.json" "$work/reconciled"

heading "What subscribers are charged, for the billing system; a line that it rejects stands on the next day's file"
day() { TZ=Asia/Shanghai date -d "$1" +%F; }
"$tally" phone-bill issue --day "$(day '2 days ago')" --by lin --out "$work/phone.csv"
head -n 4 "$work/phone.csv"
printf 'H,tally-phone-bill-return,1,1,%s\nrecord,line,status,reason\nD,1-1,rejected,no such account\nT,1\n' \
  "$(tail -n 1 "$work/phone.csv" | cut -d , -f 4)" >"$work/return.csv"
"$tally" phone-bill return "$work/return.csv" --by lin
"$tally" phone-bill issue --day "$(day '1 day ago')" --by lin --out "$work/phone.csv" >"$work/phone.out"
head -n 3 "$work/phone.csv" | tail -n 1

heading "What gateways say they sent, beside what came: one photo was lost on the way, and is named"
hour=$((${now%000} / 3600 * 3600))000
printf '{"source":"gw-photo","gateway_epoch":1,"hour":%s,"events":21,"first_seq":1,"last_seq":21,"usage":{"requests":21}}\n' \
  "$hour" >>"$work/totals.ndjson"
curl -sf "http://$http/v1/control-totals" -H 'content-type: application/x-ndjson' --data-binary @"$work/totals.ndjson"
echo
settled
sql "SELECT state, count(*) AS gateway_hours, sum(sent) AS sent, sum(accepted) AS accepted, sum(held_back) AS held_back,
  sum(missing) AS missing FROM settlement.completeness GROUP BY state ORDER BY state"
sql "SELECT source, gateway_epoch, first_missing, last_missing, hour FROM settlement.missing_events WHERE source = 'gw-photo'"

heading "What is held back, and why"
sql "SELECT reason, count(*) AS events, min(substr(subreason, 1, 72)) AS for_example
  FROM suspense GROUP BY reason ORDER BY events DESC"

heading "Stopped; every invariant over ledger, state and tables"
kill "$up"
wait "$up" || { cat "$work/up.err" >&2; exit 1; }
up=""
"$tally" status
"$tally" verify
