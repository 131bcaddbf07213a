#!/usr/bin/env bash
# Runs the fault tests of tests/faults with their full counts, one after the other, and prints what they
# measured; and a million steps of charging beside the independent oracle. Takes hours.
#
#   scripts/soak.sh [ARGUMENTS OF cargo test]     nothing named = every test of tests/faults, the oracles', that a vendor
#                                                 finds out nothing of others, a rolling upgrade (R25), and one to a version
#                                                 whose format this one does not know
#
# The upgrade is from the version of TALLY_UPGRADE_FROM, a Git ref, which is built first; without it from this very build,
# by another path, with three seconds of traffic between two changes: that costs two minutes, and shows that nothing is
# lost where processes are replaced one by one and where the partition count changes, and that the script that is run
# before a release still works.
#
# TALLY_SOAK_SHARES=N makes an N-th of the rounds of those tests whose rounds need not all be of one run (kills while
# recovering, zombies, two writers, lost replies, closes): N runs make the full count, beside each other or on several days.
#
# The figures are appended to TALLY_FIGURES (soak/DATE.jsonl in the cache), one JSON object a test that passed, and, with the
# machine that measured them, to bench-results/faults.jsonl there, from which benches/RESULTS.md has them:
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
    tail -n +$((figures_before + 1)) "$TALLY_FIGURES" | python3 benches/machine.py name \
      >>"$TALLY_CACHE/bench-results/faults.jsonl"
  else
    echo 'none'
  fi
}
trap show_figures EXIT

if [[ $# -gt 0 ]]; then
  scripts/test.sh "$@"
else
  # One that fails does not keep the others from being run.
  failed=0
  scripts/test.sh --test query isolation::thousands || failed=1
  scripts/test.sh --test oracle --test faults || failed=1

  printf '\n== rolling upgrade and its way back, from %s\n' "${TALLY_UPGRADE_FROM:-this build}"
  new=${CARGO_TARGET_DIR:-target}/debug/tally options=()
  if [[ -n ${TALLY_UPGRADE_FROM:-} ]]; then
    old=$(scripts/build-ref.sh "$TALLY_UPGRADE_FROM")
  else
    # Two names, so that what is said of one is not said of the other.
    old=$(dirname "$TALLY_FIGURES")/tally-before
    ln -f "$new" "$old" 2>/dev/null || cp "$new" "$old"
    export PHASE_SECONDS=${PHASE_SECONDS:-3}
    # A version from before the count could be changed refuses what is there then.
    options=(--partitions)
  fi
  scripts/upgrade.sh "${options[@]}" "$old" "$new" || failed=1

  printf '\n== what this build says of a later one, and that nothing is lost by it\n'
  later=$(scripts/build-later.sh) && scripts/upgrade.sh --refusal-expected "$new" "$later" || failed=1
  [[ $failed == 0 ]]
fi
