#!/usr/bin/env bash
# Runs every test against a real Kafka broker and a real S3 server, which it starts on free ports and always stops.
#
#   scripts/test.sh [ARGUMENTS OF cargo test]     TALLY_SOAK=1 runs the full counts, and what is ignored otherwise
#
# The tests find the servers in TALLY_TEST_KAFKA (HOST:PORT), TALLY_TEST_KAFKA_SECURE (the same broker, with TLS and a
# password) and TALLY_TEST_KAFKA_CA, TALLY_TEST_S3 (URL) and AWS_…, and a Python with the packages of tests/python in
# TALLY_TEST_PYTHON.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}

heading() { printf '\n== %s\n' "$*"; }

cargo_test=(cargo test --workspace --locked --no-fail-fast "$@")
heading 'build of the tests'
"${cargo_test[@]}" --no-run
if [[ ${TALLY_SOAK:-} == 1 ]]; then cargo_test+=(-- --include-ignored); fi

mkdir -p "$TALLY_CACHE/run"
servers=$(mktemp -d "$TALLY_CACHE/run/test.XXXXXX")
stop_servers() {
  scripts/kafka.sh wipe --dir "$servers/kafka"
  scripts/s3.sh wipe --dir "$servers/s3"
  rm -rf "$servers"
}
trap stop_servers EXIT
trap 'exit 130' INT TERM

heading 'servers'
TALLY_KAFKA_HEAP=${TALLY_KAFKA_HEAP:-512m}
TALLY_TEST_KAFKA=$(TALLY_KAFKA_HEAP=$TALLY_KAFKA_HEAP TALLY_KAFKA_SECURE=1 \
  scripts/kafka.sh start --port 0 --dir "$servers/kafka")
TALLY_TEST_KAFKA_SECURE=$(cat "$servers/kafka/secure")
TALLY_TEST_KAFKA_CA=$servers/kafka/tls/ca.pem
aws=$(scripts/s3.sh start --port 0 --dir "$servers/s3")
eval "$aws"
TALLY_TEST_S3=$AWS_ENDPOINT_URL
TALLY_TEST_PYTHON=$TALLY_CACHE/venv/bin/python
PYTHONDONTWRITEBYTECODE=1
export TALLY_KAFKA_HEAP TALLY_TEST_KAFKA TALLY_TEST_KAFKA_SECURE TALLY_TEST_KAFKA_CA
export TALLY_TEST_S3 TALLY_TEST_PYTHON PYTHONDONTWRITEBYTECODE
echo "Kafka on $TALLY_TEST_KAFKA, S3 on $TALLY_TEST_S3"

heading 'S3 server: races of conditional writes'
"$TALLY_TEST_PYTHON" tests/servers/conditional_put.py

heading 'tests in Python: of the independent checks, of setup, of the report'
"$TALLY_TEST_PYTHON" -m unittest discover -s tests/python

heading "${cargo_test[*]}"
"${cargo_test[@]}"

# Not where only some tests were asked for.
if [[ $# == 0 ]]; then
  heading 'the roles as the chart renders them, and its test'
  scripts/chart-run.sh "${CARGO_TARGET_DIR:-target}/debug/tally"
  heading 'dashboards, runbooks and alert rules, asked of a real Prometheus'
  unset AWS_ENDPOINT_URL AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_REGION AWS_ALLOW_HTTP
  scripts/dashboards.sh "${CARGO_TARGET_DIR:-target}/debug/tally"
fi
