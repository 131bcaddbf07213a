#!/usr/bin/env bash
# Builds the program of another version of this project, in a folder of its own below the cache, and prints its path.
#
#   scripts/build-ref.sh GIT_REF     a build that is there already is not made again
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# == 1 ]] || { sed -n '4s/^#  *//p' "$0" >&2; exit 2; }
TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
commit=$(git rev-parse --verify --quiet "$1^{commit}") || { echo "build-ref: $1 is not a version of this repository" >&2; exit 1; }
folder=$TALLY_CACHE/versions program=$TALLY_CACHE/versions/tally-$commit
if [[ ! -x $program ]]; then
  mkdir -p "$folder"
  tree=$folder/tree-$$
  git worktree add --quiet --detach "$tree" "$commit" >&2
  trap 'git worktree remove --force "$tree"' EXIT
  # One folder for all versions: what they have in common is compiled once.
  (cd "$tree" && CARGO_TARGET_DIR=$folder/target cargo build --locked >&2)
  cp "$folder/target/debug/tally" "$program.partial"
  mv "$program.partial" "$program"
fi
echo "$program"
