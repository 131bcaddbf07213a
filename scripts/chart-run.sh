#!/usr/bin/env bash
# Runs the roles with the settings, environment and arguments that the chart renders, on real Kafka and S3, and then the
# chart's own test: without a cluster.
#
#   scripts/chart-run.sh [TALLY]     TALLY is the program; without it, the one of `cargo build`
#
# Takes the servers of TALLY_TEST_KAFKA and AWS_… where they are set, as scripts/test.sh does; else brings up its own.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/chart/tools.sh
source scripts/chart/tools.sh
tally=$(realpath "${1:-${CARGO_TARGET_DIR:-target}/debug/tally}")
[[ -x $tally ]] || { echo "chart-run: $tally is not there: cargo build, or name another" >&2; exit 1; }
fetch_helm
fetch_prometheus
make_chart_venv

folder=$(mktemp -d)
stop_servers() {
  if [[ -d $folder/kafka ]]; then scripts/kafka.sh wipe --dir "$folder/kafka"; fi
  if [[ -d $folder/s3 ]]; then scripts/s3.sh wipe --dir "$folder/s3"; fi
  rm -rf "$folder"
}
trap stop_servers EXIT
trap 'exit 130' INT TERM
if [[ -z ${TALLY_TEST_KAFKA:-} ]]; then
  TALLY_TEST_KAFKA=$(TALLY_KAFKA_HEAP=${TALLY_KAFKA_HEAP:-256m} scripts/kafka.sh start --port 0 --dir "$folder/kafka")
  export TALLY_TEST_KAFKA
fi
if [[ -z ${AWS_ENDPOINT_URL:-} ]]; then
  aws=$(scripts/s3.sh start --port 0 --dir "$folder/s3")
  eval "$aws"
fi
TALLY_SECRETS=$folder/secrets scripts/compose-secrets.sh "$tally" >/dev/null
"$CHART_PYTHON" scripts/chart/run_rendered.py "$HELM" "$tally" "$folder/secrets" "$PROMETHEUS"
