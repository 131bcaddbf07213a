#!/usr/bin/env bash
# Every check that runs no test. Goes on after a failure, names each at the end, and exits 1 if there was one.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
MAX_LINES=800
DATABASE_SECONDS=60
failed=()

# check NAME COMMAND…: in a shell of its own that ends at the first failure. Called within an `if`, a function would go on
# after one, and only its last command would count.
check() {
  local name=$1 status
  shift
  printf '\n== %s\n' "$name"
  set +e
  (set -e; "$@")
  status=$?
  set -e
  if [[ $status == 0 ]]; then echo ok; else failed+=("$name"); fi
}

# Files of the project, the ones not yet added included.
sources() { git ls-files --cached --others --exclude-standard --deduplicate -- "$@"; }

file_sizes() {
  local files file lines status=0
  files=$(sources '*.rs' '*.py' '*.sh' '*.bash' '*.proto' '*.sql' '*.js' '*.css' '*.html')
  while read -r file; do
    [[ -f $file ]] || continue
    lines=$(wc -l <"$file")
    if ((lines > MAX_LINES)); then
      echo "$file has $lines lines, $MAX_LINES is the most"
      status=1
    fi
  done <<<"$files"
  return "$status"
}

# Paths that exist on one person's machine only.
machine_paths() {
  local status=0
  git --no-pager grep -InE --untracked '(^|[^A-Za-z0-9_.])/(home/[a-z]|Users/[A-Za-z]|(root|work)/)' || status=$?
  # 1 says that there is none; 0 that there are some, more that nothing was looked at.
  [[ $status == 1 ]]
}

shell_scripts() {
  local files
  files=$(sources '*.sh' '*.bash' .ci/run)
  mapfile -t files <<<"$files"
  shellcheck -x "${files[@]}"
}

# The advisories are a Git repository. Where it cannot be reached, everything else is checked.
supply_chain() {
  local checks=(bans licenses sources)
  # Not even tried where names do not resolve.
  if getent hosts github.com >/dev/null && timeout "$DATABASE_SECONDS" "$deny" fetch db; then
    checks+=(advisories)
  else
    echo 'advisories not checked: the database cannot be reached'
  fi
  "$deny" check --hide-inclusion-graph "${checks[@]}"
}

check 'file sizes' file_sizes
check 'machine paths' machine_paths
if command -v shellcheck >/dev/null; then
  check 'shellcheck' shell_scripts
else
  printf '\n== shellcheck\nskipped: shellcheck is not installed (apt-get install -y shellcheck)\n'
fi
# What is outside of the workspace is formatted like it. It is not compiled here: both bring hundreds of crates of their
# own, and are built where they are run.
workspaces_are_formatted() {
  local manifest status=0
  cargo fmt --all --check || status=1
  for manifest in benches/Cargo.toml fuzz/Cargo.toml; do
    cargo fmt --check --manifest-path "$manifest" || status=1
  done
  return "$status"
}

# What the stream is made of builds without SQL and Delta (docs/ARCHITECTURE.md).
core_without_tables() {
  local tree found
  tree=$(cargo tree --locked --package tally-aggregate --edges normal --prefix none --format '{p}') || return 1
  found=$(grep -E '^(datafusion|deltalake|delta_kernel|buoyant_kernel)' <<<"$tree" | sort -u || true)
  [[ -z $found ]] || { printf 'tally-aggregate depends on:\n%s\n' "$found"; return 1; }
}

check 'cargo fmt' workspaces_are_formatted
check 'core without tables' core_without_tables
check 'cargo clippy' cargo clippy --workspace --all-targets --features tally-aggregate/stages,tally-aggregate/fuzz,tally-ingest/fuzz --locked -- -D warnings
deny=$(type -P cargo-deny || echo "$TALLY_CACHE/bin/cargo-deny")
if [[ -x $deny ]]; then
  check 'cargo deny' supply_chain
else
  printf '\n== cargo deny\nskipped: cargo-deny is not installed (scripts/setup.sh lint)\n'
fi
# It says by itself what is wrong in which part.
check 'chart, alert rules, dashboards, runbooks, image' scripts/lint-chart.sh

if [[ ${#failed[@]} -gt 0 ]]; then
  printf '\nlint failed: %s\n' "${failed[*]}" >&2
  exit 1
fi
printf '\nlint passed\n'
