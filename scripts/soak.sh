#!/usr/bin/env bash
# Runs the fault tests of tests/faults with their full counts, one after the other, and prints what they
# measured; and a million steps of charging beside the independent oracle. Takes hours.
#
#   scripts/soak.sh [ARGUMENTS OF cargo test]     nothing named = every test of tests/faults, the oracles', and
#                                                 that a vendor finds out nothing of others
#
# The figures are appended to TALLY_FIGURES (soak/DATE.jsonl in the cache), one JSON object a test that passed, and to
# bench-results/faults.jsonl there, from which benches/RESULTS.md has them:
#
#   python3 benches/report.py ~/.cache/tally/bench-results benches/RESULTS.md
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}

export TALLY_SOAK=1
# Each test alone on the machine: recovery times and throughput are of one stream and not of several.
export RUST_TEST_THREADS=1
export TALLY_KAFKA_HEAP=${TALLY_KAFKA_HEAP:-1g}
export TALLY_FIGURES=${TALLY_FIGURES:-$TALLY_CACHE/soak/$(date -u +%Y%m%dT%H%M%SZ).jsonl}
mkdir -p "$(dirname "$TALLY_FIGURES")"
TALLY_FIGURES=$(realpath -m "$TALLY_FIGURES")

figures_before=$(if [[ -f $TALLY_FIGURES ]]; then wc -l <"$TALLY_FIGURES"; else echo 0; fi)

show_figures() {
  printf '\n== figures, in %s\n' "$TALLY_FIGURES"
  if [[ -s $TALLY_FIGURES ]]; then
    cat "$TALLY_FIGURES"
    mkdir -p "$TALLY_CACHE/bench-results"
    tail -n +$((figures_before + 1)) "$TALLY_FIGURES" >>"$TALLY_CACHE/bench-results/faults.jsonl"
  else
    echo 'none'
  fi
}
trap show_figures EXIT

[[ $# -gt 0 ]] || scripts/test.sh --test query isolation::thousands
[[ $# -gt 0 ]] || set -- --test oracle --test faults
scripts/test.sh "$@"
