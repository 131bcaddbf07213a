#!/bin/sh
# Hands in one event and reads it back with SQL: that it is there once, and is there once too after it came twice.
# DOOR and SQL are addresses, CA a file, GATEWAY_TOKEN and AUDITOR_TOKEN tokens, PATIENCE seconds.
set -eu
id="chart-test-$(date -u +%s)-$$"
event="{\"source\":\"chart-test\",\"id\":\"$id\",\"account\":\"CHART-TEST\",\"model\":\"glm-5\",\"completed_at\":\"$(date -u +%Y-%m-%dT%H:%M:%SZ)\",\"usage\":{\"input\":7,\"output\":3}}"
statement="{\"query\":\"SELECT count(*) AS events, sum(input) AS input, sum(output) AS output FROM usage_events WHERE source = 'chart-test' AND id = '$id'\"}"

ask() {
  curl --silent --show-error --fail-with-body --max-time 20 --cacert "$CA" "$@"
}

send() {
  ask "$DOOR/v1/events" -H "authorization: Bearer $GATEWAY_TOKEN" -H 'content-type: application/json' -d "$event"
  echo
}

read_back() {
  ask "$SQL/v1/sql" -H "authorization: Bearer $AUDITOR_TOKEN" -H 'content-type: application/json' \
    -H 'accept: text/csv' -d "$statement" | tail -n 1
}

echo "handing in $id, twice"
send
send
deadline=$(($(date +%s) + PATIENCE))
while found=$(read_back) && [ "$found" != 1,7,3 ]; do
  if [ "$(date +%s)" -ge "$deadline" ]; then
    echo "after $PATIENCE s SQL says $found (events, input, output) instead of 1,7,3" >&2
    exit 1
  fi
  sleep 2
done
echo "SQL has it once: $found"
