#!/usr/bin/env bash
# Builds the program as a later version would be that has another format of the ledger, and prints its path: the same
# source, but that each entry it writes is of the format after the newest that this version reads. What a version that is
# too old does with such a store is tried with it: scripts/upgrade.sh --refusal-expected.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
[[ $# == 0 ]] || { sed -n '2,4s/^# \{0,1\}//p' "$0" >&2; exit 2; }
TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
folder=$TALLY_CACHE/versions
mkdir -p "$folder"
tree=$folder/tree-$$
git worktree add --quiet --detach "$tree" HEAD >&2
trap 'git worktree remove --force "$tree"' EXIT

# change FILE FROM TO     exactly one place, or the source is no longer as this script knows it
change() {
  [[ $(grep -cF -- "$2" "$tree/$1") == 1 ]] || { echo "build-later: '$2' is not once in $1: put scripts/build-later.sh right" >&2; exit 1; }
  python3 - "$tree/$1" "$2" "$3" <<'PYTHON'
import pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text(path.read_text().replace(sys.argv[2], sys.argv[3]))
PYTHON
}
newest=$(sed -n 's/^pub const LEDGER_FORMAT: u32 = \([0-9]*\);/\1/p' schemas/src/ledger_entry.rs)
change schemas/src/ledger_entry.rs "pub const LEDGER_FORMAT: u32 = $newest;" "pub const LEDGER_FORMAT: u32 = $((newest + 1));"
change aggregate/src/ledger.rs 'format: previous.map_or(LEDGER_FORMAT_FIRST, |entry| entry.format),' 'format: LEDGER_FORMAT.max(LEDGER_FORMAT_FIRST),'
# One folder with the versions of scripts/build-ref.sh: what they have in common is compiled once.
(cd "$tree" && CARGO_TARGET_DIR=$folder/target cargo build --locked --bin tally >&2)
cp "$folder/target/debug/tally" "$folder/tally-later.partial"
mv "$folder/tally-later.partial" "$folder/tally-later"
echo "$folder/tally-later"
