#!/usr/bin/env bash
# Checks every tool that Tally's targets need, and names a missing one with the command that installs it.
#
#   scripts/setup.sh [build] [lint] [test]     nothing named = all of them
#
# As root on Debian or Ubuntu, with CI=true or TALLY_SETUP_INSTALL=1 (make sets it), missing packages are
# installed. `lint` also gets cargo-deny, Helm, promtool and what else checks the chart, and `test` what the tests bring
# up: Kafka, S3 and a Python environment, in the cache.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}
VENV=$TALLY_CACHE/venv
DENY_VERSION=0.20.2
CHANNEL=$(sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)

packages=() # Debian packages to install
missing=()  # lines for the person, of what no Debian package brings

has() { command -v "$1" >/dev/null 2>&1; }

# lacks DEBIAN_PACKAGE COMMAND…: the package is to be installed unless the command succeeds.
lacks() {
  local package=$1
  shift
  "$@" >/dev/null 2>&1 || packages+=("$package")
}

# at_least WANTED FOUND: whether version FOUND is WANTED or later.
at_least() { [[ $(printf '%s\n%s\n' "$1" "$2" | sort -V | head -n 1) == "$1" ]]; }

has_java_17() { at_least 17 "$(java -version 2>&1 | sed -n 's/.*version "\([0-9.]*\).*/\1/p')"; }
has_go() { at_least 1.21 "$(go env GOVERSION 2>/dev/null | tr -d go)"; } # which fetches the Go it needs
has_python_venv() { python3 -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))'; }

# A font with Chinese characters, which statements as PDF are set in.
has_chinese_font() {
  [[ -n $(find /usr/share/fonts /usr/local/share/fonts "$HOME/.local/share/fonts" "$HOME/.fonts" \
    \( -iname 'NotoSansCJK*' -o -iname 'NotoSansSC*' -o -iname 'SourceHanSans*' \) -print -quit 2>/dev/null) ]]
}

check_rust() {
  local install="rustup toolchain install $CHANNEL --profile minimal -c rustfmt -c clippy"
  if has rustup; then
    rustup run "$CHANNEL" rustc --version >/dev/null 2>&1 || missing+=("Rust $CHANNEL: $install")
  elif ! has cargo || ! at_least "$CHANNEL" "$(rustc --version | cut -d' ' -f2)"; then
    missing+=("Rust $CHANNEL: install rustup (https://rustup.rs), then: $install")
  fi
}

check_build() {
  check_rust
  lacks build-essential cc --version
  lacks build-essential c++ --version
  lacks make make --version
  lacks mold mold --version
  lacks curl curl --version
  lacks python3 python3 --version
  lacks perl perl -MFindBin -MIPC::Cmd -MTime::Piece -e 1 # OpenSSL's build asks for them
}

check_lint() {
  check_rust
  lacks git git --version
  lacks shellcheck shellcheck --version
  if ! rustfmt --version >/dev/null 2>&1 || ! cargo-clippy --version >/dev/null 2>&1; then
    missing+=("rustfmt and clippy: rustup component add --toolchain $CHANNEL rustfmt clippy")
  fi
  check_chart
}

check_chart() {
  lacks python3-venv has_python_venv
  if ! has helm && ! [[ -x $TALLY_CACHE/bin/helm ]] && ! has_go; then
    missing+=('Helm 3.18 or later, or Go 1.25 or later to build it: https://helm.sh/docs/intro/install')
  fi
}

check_test() {
  lacks default-jre-headless has_java_17
  lacks procps ps -p $$
  lacks python3-venv has_python_venv
  lacks postgresql-client psql --version
  lacks fonts-noto-cjk has_chinese_font
  lacks poppler-utils pdftotext -v # reads the statements that are PDF
  lacks openssl openssl version    # makes certificates for the run of the chart's roles
  lacks bsdutils script --version  # gives a command a terminal of its own
  check_chart
  compgen -G "$TALLY_CACHE/kafka-*/libs" >/dev/null || lacks maven mvn --version
  if ! has versitygw && ! [[ -x $TALLY_CACHE/bin/versitygw ]] && ! has_go; then
    missing+=('Go 1.25 or later, to build the S3 server: https://go.dev/doc/install')
  fi
}

# Installs the missing packages where that is allowed and possible, else says how.
install_packages() {
  [[ ${#packages[@]} -gt 0 ]] || return 0
  mapfile -t packages < <(printf '%s\n' "${packages[@]}" | sort -u)
  if [[ ${CI:-} == true || ${TALLY_SETUP_INSTALL:-} == 1 ]] && [[ $(id -u) == 0 ]] && has apt-get; then
    echo "setup: installing ${packages[*]}"
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
  else
    missing+=("${packages[*]}: sudo apt-get install -y ${packages[*]} (or your system's packages of these names)")
  fi
}

# What checks the supply chain, built into the cache once. A debug build takes half the time, and a check of a second
# becomes one of a few.
fetch_deny() {
  local program=$TALLY_CACHE/bin/cargo-deny build
  if has cargo-deny || [[ $("$program" --version 2>/dev/null) == "cargo-deny $DENY_VERSION" ]]; then return; fi
  echo "setup: building cargo-deny $DENY_VERSION (two minutes, once)"
  build=$(mktemp -d)
  CARGO_TARGET_DIR=$build cargo install --quiet --locked --debug --no-track --force \
    --root "$TALLY_CACHE" --version "$DENY_VERSION" cargo-deny
  rm -rf "$build"
}

# The Python environment, made anew when the pinned versions change.
make_venv() {
  local pins=tests/python/requirements.txt
  if cmp -s "$pins" "$VENV/requirements.txt"; then return; fi
  echo "setup: making the Python environment $VENV"
  rm -rf "$VENV"
  python3 -m venv "$VENV"
  "$VENV/bin/pip" install -q --disable-pip-version-check -r "$pins"
  cp "$pins" "$VENV/requirements.txt"
}

# A build folder serves several clones. Cargo tells sources apart by their place in the workspace and their
# age, so it would take the build of a later clone for this one's: the members are built anew after a change.
keep_clones_apart() {
  local owner=${CARGO_TARGET_DIR:-target}/checkout
  if [[ -d $(dirname "$owner") && $(cat "$owner" 2>/dev/null) != "$PWD" ]]; then
    echo 'setup: the last build here was of another clone; building the workspace anew'
    cargo clean --quiet --workspace
  fi
  mkdir -p "$(dirname "$owner")"
  echo "$PWD" >"$owner"
}

[[ $# -gt 0 ]] || set -- build lint test
for part in "$@"; do
  case $part in
    build | lint | test) "check_$part" ;;
    *) echo "usage: scripts/setup.sh [build] [lint] [test]" >&2; exit 2 ;;
  esac
done
install_packages
if [[ ${#missing[@]} -gt 0 ]]; then
  echo 'setup: these are missing. Install each with:' >&2
  printf '%s\n' "${missing[@]}" | sort -u | sed 's/^/  /' >&2
  exit 1
fi
keep_clones_apart
if [[ " $* " == *' lint '* ]]; then
  fetch_deny
  scripts/lint-chart.sh --fetch
fi
if [[ " $* " == *' test '* ]]; then
  scripts/kafka.sh fetch
  scripts/s3.sh fetch
  # shellcheck source=scripts/chart/tools.sh
  source scripts/chart/tools.sh
  fetch_helm
  fetch_prometheus
  make_chart_venv
  make_venv
fi
echo "setup: everything that $* needs is here"
