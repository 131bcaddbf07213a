#!/usr/bin/env bash
# Builds the fuzz targets of fuzz/ with coverage counters and runs each for a while; docs/fuzzing.md.
#
#   scripts/fuzz.sh [TARGET…]     nothing named = all of them
#
# FUZZ_SECONDS=60 a target, FUZZ_JOBS=1 at a time. What the targets learn is kept in TALLY_CACHE/fuzz/corpus and
# serves the next run. A finding is kept in TALLY_CACHE/fuzz/found, printed with the command that replays it, and
# ends in exit 1.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
FUZZ_SECONDS=${FUZZ_SECONDS:-60}
FUZZ_JOBS=${FUZZ_JOBS:-1}
# Inputs are small, so that a run of more is a finding: memory of the process, KiB, and time of one input, seconds.
MEMORY_KIB=$((2 << 20))
INPUT_SECONDS=10
INPUT_MAX_BYTES=8192

home=$TALLY_CACHE/fuzz
target_dir=${FUZZ_TARGET_DIR:-$home/target}
host=$(rustc -vV | sed -n 's/^host: //p')
bins=$target_dir/$host/debug
mkdir -p "$home/corpus" "$home/found" "$home/logs"

# As cargo-fuzz does, but with the pinned stable compiler and without a sanitizer, which stable has not: our crates
# have no unsafe code. With --target, build scripts and macros of the compiler are built without counters.
build() {
  local flags=(
    -Cpasses=sancov-module
    -Cllvm-args=-sanitizer-coverage-level=4
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table
    -Cllvm-args=-sanitizer-coverage-trace-compares
    -Clink-arg=-fuse-ld=mold
  )
  CARGO_TARGET_DIR=$target_dir RUSTFLAGS="${flags[*]}" \
    cargo build --locked --manifest-path fuzz/Cargo.toml --target "$host" "${bin_args[@]}"
}

# figure LOG NAME: the last value of a figure in the status lines of a log, such as cov.
figure() { sed -n "s/.* $2: \([0-9]*\).*/\1/p" "$1" | tail -n 1; }

# fuzz_one TARGET: runs it and says in one line what came of it.
fuzz_one() {
  local target=$1 log=$home/logs/$1.log status=0 found before after
  mkdir -p "$home/corpus/$target"
  (
    ulimit -c 0
    ulimit -v "$MEMORY_KIB"
    exec "$bins/$target" "$home/corpus/$target" "fuzz/seeds/$target" \
      -max_total_time="$FUZZ_SECONDS" -timeout="$INPUT_SECONDS" -max_len="$INPUT_MAX_BYTES" \
      -rss_limit_mb=$((MEMORY_KIB / 2048)) -artifact_prefix="$home/found/$target-" -print_final_stats=1
  ) >"$log" 2>&1 || status=$?
  if [[ $status != 0 ]]; then
    found=$(sed -n 's/.*Test unit written to //p' "$log" | tail -n 1)
    echo "$target: FOUND, exit $status"
    grep -E -A 3 "panicked at|ERROR: libFuzzer|memory allocation of" "$log" | head -n 20 || tail -n 20 "$log"
    echo "  input:  ${found:-none was written; see $log}"
    echo "  replay: $bins/$target $found"
    return 1
  fi
  before=$(sed -n 's/.*INITED cov: \([0-9]*\).*/\1/p' "$log" | tail -n 1)
  after=$(figure "$log" cov)
  echo "$target: $(sed -n 's/stat::number_of_executed_units: *//p' "$log") inputs," \
    "$(sed -n 's/stat::average_exec_per_sec: *//p' "$log") a second;" \
    "coverage ${before:-?} -> ${after:-?} edges, $(figure "$log" ft) features"
}

mapfile -t known < <(sed -n 's/^name = "\(.*\)"/\1/p' fuzz/Cargo.toml | grep -v '^tally-fuzz$')
[[ $# -gt 0 ]] || set -- "${known[@]}"
bin_args=()
for target in "$@"; do
  if [[ ! " ${known[*]} " == *" $target "* ]]; then
    echo "no target $target; there are ${known[*]}" >&2
    exit 2
  fi
  bin_args+=(--bin "$target")
done
build
failed=0 running=0
for target in "$@"; do
  if ((running >= FUZZ_JOBS)); then
    wait -n || failed=1
    running=$((running - 1))
  fi
  fuzz_one "$target" &
  running=$((running + 1))
done
while ((running > 0)); do
  wait -n || failed=1
  running=$((running - 1))
done
exit "$failed"
