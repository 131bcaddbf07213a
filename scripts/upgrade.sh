#!/usr/bin/env bash
# A rolling upgrade and its way back (R25) on real Kafka and real S3, under traffic that never stops: two aggregators, a
# door and a query role of OLD; one aggregator becomes NEW (mixed), then the other, the door, the query role; then all
# go back to OLD, one by one.
#
#   scripts/upgrade.sh [--refusal-expected] [--partitions] OLD NEW
#
# Two `tally` programs; `make upgrade FROM=REF` builds both. With --partitions NEW changes the partition count at the end,
# which changes the format of the ledger, and OLD is started on what there is then: on the topic of before, as who was
# forgotten, and on the new one.
#
# At the end what was accepted is in the tables exactly once, by the generator's truth as both programs read the tables,
# and `tally verify` of both holds. Where OLD refuses what NEW wrote, the sentence is printed: a failure, or with
# --refusal-expected the only right end; then NEW takes over again and everything must be there as well.
#
# Takes the servers of TALLY_TEST_KAFKA and AWS_… where they are set, as scripts/test.sh does; else brings up its own.
# PHASE_SECONDS (8): traffic between two changes. RATE (1500): events a second. KEEP=1 keeps the folder with the logs.
set -euo pipefail
project=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
usage() {
  sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//;p}' "$project/scripts/upgrade.sh" >&2
  exit 2
}
refusal_expected=0 change_partitions=0
while [[ ${1:-} == --* ]]; do
  case $1 in
    --refusal-expected) refusal_expected=1 ;;
    --partitions) change_partitions=1 ;;
    *) usage ;;
  esac
  shift
done
[[ $# == 2 && -x $1 && -x $2 ]] || usage
old=$(realpath "$1") new=$(realpath "$2")
phase_s=${PHASE_SECONDS:-8} rate=${RATE:-1500}
readonly ACCOUNTS=2000 PATIENCE_S=90
partitions=4
# How a program says that something was written by a later one: the ledger, reference data, write-offs, budgets, removed
# days, books and the audit trail; state; tables; suspense; and the words that older programs had for books, the audit
# trail, and a ledger whose partition count was changed.
REFUSAL='this build reads up to|was written by a later version|this build knows|asks for (a newer )?Delta'
REFUSAL+='|is unknown to this build|is of a later build|is not known to this version|form [0-9]+ is not known|unknown variant .(frozen|moved).|missing field .n.'
readonly REFUSAL

folder=$(mktemp -d)
declare -A pid_of=() program_of=()
stop_all() {
  local status=$? name
  touch "$folder/enough"
  for name in "${!pid_of[@]}"; do kill "${pid_of[$name]}" 2>/dev/null || true; done
  wait 2>/dev/null || true
  if [[ -d $folder/kafka ]]; then "$project/scripts/kafka.sh" wipe --dir "$folder/kafka"; fi
  if [[ -d $folder/s3 ]]; then "$project/scripts/s3.sh" wipe --dir "$folder/s3"; fi
  if [[ ${KEEP:-} == 1 ]]; then echo "logs are kept in $folder"; else rm -rf "$folder"; fi
  exit "$status"
}
trap stop_all EXIT
trap 'exit 130' INT TERM

began=$SECONDS
say() { printf '%4d s  %s\n' "$((SECONDS - began))" "$*"; }
fail() {
  say "FAILED: $*"
  tail -n 5 "$folder"/*.err >&2 || true
  exit 1
}
free_port() {
  python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
version_word() { if [[ $1 == "$old" ]]; then echo OLD; else echo NEW; fi; }

if [[ -z ${TALLY_TEST_KAFKA:-} ]]; then
  TALLY_TEST_KAFKA=$(TALLY_KAFKA_HEAP=${TALLY_KAFKA_HEAP:-256m} "$project/scripts/kafka.sh" start --port 0 --dir "$folder/kafka")
fi
if [[ -z ${AWS_ENDPOINT_URL:-} ]]; then
  aws=$("$project/scripts/s3.sh" start --port 0 --dir "$folder/s3")
  eval "$aws"
fi
door=127.0.0.1:$(free_port)
name=rolling-$$
export TALLY_LOG__KAFKA=$TALLY_TEST_KAFKA TALLY_LOG__TOPIC=$name TALLY_LOG__GROUP=$name TALLY_LOG__PARTITIONS=$partitions
export TALLY_ALERTS__TOPIC=$name.alerts TALLY_BUDGETS__TOPIC=$name.models TALLY_QUOTA__TOPIC=$name.status
export TALLY_STORE__URL=s3://tally/$name TALLY_HTTP__LISTEN=$door RUST_LOG=${RUST_LOG:-warn}
# Many epochs, and bases of state among them, written by one version and read by the other.
export TALLY_AGGREGATE__FRESHNESS_MS=2000 TALLY_AGGREGATE__PUBLISH_INTERVAL_MS=500
export TALLY_AGGREGATE__JANITOR_INTERVAL_MS=15000
cd "$folder"  # no tally.toml of anybody else

# Runs a role of a program: role NAME PROGRAM ARGUMENT…
role() {
  local name=$1 program=$2
  shift 2
  "$program" "$@" >>"$folder/$name.out" 2>>"$folder/$name.err" &
  pid_of[$name]=$! program_of[$name]=$program
}
aggregator() { role "$1" "$2" aggregate --listen "127.0.0.1:${port_of[$1]}"; }
door_role() { role door "$1" ingest; }
query_role() {
  local flight=()
  # A key that a version does not know is an error of its configuration.
  if "$1" config show | grep -q query.flight_listen; then flight=(--flight-listen 127.0.0.1:0); fi
  role query "$1" query --listen "127.0.0.1:${port_of[query]}" --pg-listen 127.0.0.1:0 "${flight[@]}"
}
start() {
  case $1 in
    door) door_role "$2" ;;
    query) query_role "$2" ;;
    *) aggregator "$1" "$2" ;;
  esac
}
stop() {
  local status=0 asked=$SECONDS
  kill "${pid_of[$1]}"
  wait "${pid_of[$1]}" || status=$?
  unset "pid_of[$1]"
  # Whoever refused a partition may say so by its exit code too.
  [[ $status == 0 || $is_refused == 1 ]] || fail "$1 ended with $status when it was asked to stop"
  say "  $1 stopped within $((SECONDS - asked)) s"
}

# The sentence by which a program says that it does not read what another wrote, where there is one.
refusal() { grep -hEo "[^\"]*($REFUSAL)[^\"]*" "$@" 2>/dev/null | head -n 1; }

metrics_of() { curl -sf -m 2 "http://127.0.0.1:${port_of[$1]}/metrics" || true; }
# Partitions that both aggregators hold, and records that they are behind.
owned_and_behind() {
  { metrics_of first; metrics_of second; } |
    awk '$1 ~ /^tally_partitions_owned/ { owned += $2 } $1 ~ /^tally_lag_events/ { lag += $2 } END { print owned + 0, lag + 0 }'
}
running() {
  local name words
  for name in "${!pid_of[@]}"; do
    kill -0 "${pid_of[$name]}" 2>/dev/null && continue
    words=$(refusal "$folder/$name.err" || true)
    unset "pid_of[$name]"
    if [[ -n $words ]]; then refused "$name" "$words"; else fail "$name ended by itself"; fi
  done
}
# Every partition has its owner, and the stream keeps up with the traffic; then traffic for a while.
settle() {
  local deadline=$((SECONDS + PATIENCE_S)) owned behind words
  while true; do
    running
    [[ $is_refused == 0 ]] || return 0
    read -r owned behind < <(owned_and_behind)
    if [[ $owned == "$partitions" && $behind -lt $((rate * 2)) ]] && curl -sf -m 2 "http://$door/readyz" >/dev/null; then break; fi
    # A partition that a version cannot take stops, and its owner says why.
    words=$(refusal "$folder/first.err" "$folder/second.err" || true)
    if [[ -n $words ]]; then refused aggregator "$words"; return; fi
    ((SECONDS < deadline)) || fail "after $PATIENCE_S s $owned partitions are owned, $behind records behind"
    sleep 0.3
  done
  sleep "$phase_s"
  running
  [[ $is_refused == 0 ]] || return 0
  say "  $owned partitions owned, $(owned_and_behind | cut -d' ' -f2) records behind; the query role ($(version_word "${program_of[query]}")) counts $(counted) events"
}
counted() {
  curl -sf -m 30 "http://127.0.0.1:${port_of[query]}/v1/sql" -H 'content-type: application/json' \
    -d '{"query": "SELECT count(*) AS n FROM usage_events"}' | grep -Eo '[0-9]+' | head -n 1 || echo '?'
}

is_refused=0
refused() {
  say "REFUSED by $1 ($(version_word "${program_of[$1]:-$old}")): $2"
  is_refused=1
}
replace() {
  say "$1 becomes $(version_word "$2")"
  stop "$1"
  start "$1" "$2"
  settle
}

# Runs of five seconds one after another, each with a truth of its own, until there is enough.
traffic() {
  local seed
  seed=$(find "$folder" -name 'truth-*.json' | wc -l)
  while [[ ! -e $folder/enough ]]; do
    seed=$((seed + 1))
    "$old" generate --events "$((rate * 5))" --rate "$rate" --seed "$seed" --accounts "$ACCOUNTS" --dup-rate 0.02 \
      --late-rate 0.01 --bad-rate 0.005 --out http --url "http://$door" --truth "$folder/truth-$seed.json" ||
      { touch "$folder/traffic-failed"; return 1; }
  done
}
begin_traffic() {
  rm -f "$folder/enough"
  traffic >"$folder/traffic.out" 2>"$folder/traffic.err" &
  traffic_pid=$!
}
# Traffic ends, every process stops, and a program reads the log to its end.
finish() {
  local role
  touch "$folder/enough"
  wait "$traffic_pid" || true
  [[ ! -e $folder/traffic-failed ]] || { cat "$folder/traffic.err" >&2; fail 'traffic was given up'; }
  say "traffic has ended after $(find "$folder" -name 'truth-*.json' | wc -l) runs"
  for role in door query first second; do stop "$role"; done
  "$1" aggregate --until-end >"$folder/drain.out" 2>"$folder/drain.err" || fail 'the last run to the end of the log'
}

# Whether a program reads what is there, and finds the truth in it.
holds() {
  local word query compared words
  word=$(version_word "$1")
  query="SELECT vendor, model, count(*) AS events, count(DISTINCT source || '/' || id) AS ids,
    sum(input) AS input, sum(cached_input) AS cached_input, sum(output) AS output FROM usage_events GROUP BY vendor, model"
  if ! { "$1" sql "$query" --format json >"$folder/rows-$word.json" && "$1" verify >"$folder/verify-$word.out"; } 2>"$folder/read-$word.err"; then
    words=$(refusal "$folder/read-$word.err" "$folder/verify-$word.out" || true)
    if [[ -n $words ]]; then program_of[verify]=$1; refused verify "$words"; return; fi
    cat "$folder/verify-$word.out" >&2
    fail "$word cannot read the store, or an invariant does not hold"
  fi
  say "$word: tally verify holds, $(grep -c '^ok' "$folder/verify-$word.out") checks"
  # Not within the words of `say`, whose status would be the only one that counts.
  compared=$(python3 "$project/scripts/compare_truth.py" "$folder/rows-$word.json" "$folder"/truth-*.json) || fail "$word: $compared"
  say "$word: $compared"
}

# NEW takes over what OLD has refused, and must not refuse anything itself.
take_over() {
  local role
  say 'NEW takes over'
  is_refused=0
  for role in first second door query; do
    if [[ -n ${pid_of[$role]:-} ]]; then stop "$role"; fi
    if [[ -e $folder/$role.err ]]; then mv "$folder/$role.err" "$folder/$role-before.err"; fi
    start "$role" "$new"
  done
}

# The partition count is changed by NEW, and OLD is started on the topic of before, then on the new one.
change_partitions() {
  local before=$TALLY_LOG__TOPIC topic deadline words
  say "NEW changes the partition count from $partitions to 6"
  "$new" partitions change --topic "$before.moved" --to 6 --yes >"$folder/change.out" 2>"$folder/change.err" ||
    { cat "$folder/change.err" >&2; fail 'the partition count was not changed'; }
  partitions=6
  export TALLY_LOG__PARTITIONS=$partitions
  for topic in "$before" "$before.moved"; do
    export TALLY_LOG__TOPIC=$topic
    : >"$folder/first.err"
    say "an aggregator of OLD begins with topic $topic"
    start first "$old"
    deadline=$((SECONDS + PATIENCE_S)) words=''
    while [[ -z $words ]]; do
      # Who can read it says on the topic of before that the stream is elsewhere.
      words=$(refusal "$folder/first.err" || grep -hEo 'the stream has gone on with topic.*' "$folder/first.err" | head -n 1 || true)
      if [[ -z $words && $topic != "$before" && $(owned_and_behind) == "$partitions "* ]]; then
        # It owns a partition before it has read what is stored of it.
        sleep 3
        words=$(refusal "$folder/first.err" || echo 'it reads what is there')
      fi
      [[ -n $words ]] || kill -0 "${pid_of[first]}" 2>/dev/null || fail 'OLD ended, and does not say that it cannot read this'
      ((SECONDS < deadline)) || fail "OLD says nothing of it within $PATIENCE_S s, and owns $(owned_and_behind)"
      sleep 0.3
    done
    if [[ -n $(refusal "$folder/first.err" || true) ]]; then refused first "$words"; else say "  OLD: $words"; fi
    kill "${pid_of[first]}" 2>/dev/null || true
    wait "${pid_of[first]}" || true
    unset "pid_of[first]"
  done
  if [[ $is_refused == 1 ]]; then was_refused=1; fi
}

declare -A port_of=([first]=$(free_port) [second]=$(free_port) [query]=$(free_port))
say "OLD is $("$old" --version), NEW is $("$new" --version)"
start door "$old"
for _ in {1..100}; do curl -sf -m 2 "http://$door/readyz" >/dev/null && break; sleep 0.1; done
sold=$(python3 "$project/scripts/sell.py" "$door" "$ACCOUNTS") || fail "not everything was sold: $sold"
say "$sold"
start first "$old"
start second "$old"
start query "$old"
begin_traffic
say "everything is OLD"
settle

for step in "first $new" "second $new" "door $new" "query $new" "query $old" "door $old" "second $old" "first $old"; do
  # shellcheck disable=SC2086 # a name and a program
  replace ${step% *} "${step#* }"
  if [[ $is_refused == 1 ]]; then break; fi
done

last=$old was_refused=$is_refused
if [[ $is_refused == 1 ]]; then
  last=$new
  take_over
  settle
  [[ $is_refused == 0 ]] || fail 'NEW refuses what is there'
fi
finish "$last"
if [[ $change_partitions == 1 ]]; then
  change_partitions
  last=$new
  take_over
  begin_traffic
  settle
  [[ $is_refused == 0 ]] || fail 'NEW refuses what is there'
  finish "$new"
fi
holds "$new"
[[ $is_refused == 0 ]] || fail 'NEW refuses what is there'
# What is there after another partition count is refused by OLD, or read and right.
if [[ $last == "$old" || $change_partitions == 1 ]]; then holds "$old"; fi
if [[ $is_refused == 1 ]]; then was_refused=1; fi
if [[ $was_refused == 1 ]]; then
  [[ $refusal_expected == 1 ]] || fail 'OLD does not read what NEW wrote'
  say 'OLD refuses what NEW wrote, as expected, and nothing was lost'
else
  [[ $refusal_expected == 0 ]] || fail 'OLD was expected to refuse what NEW wrote, and did not'
  say 'there and back again: nothing was lost, nothing counted twice'
fi
