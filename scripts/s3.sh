#!/usr/bin/env bash
# A real S3 server with conditional writes (versitygw over a folder) on 127.0.0.1, with one bucket, `tally`.
#
#   scripts/s3.sh start [--port N] [--dir DIR]   prints the AWS_… lines to `eval`; --port 0 takes a free port
#   scripts/s3.sh stop|wipe|status [--dir DIR]   wipe also removes the objects
#   scripts/s3.sh fetch                          only builds the server, once, into the cache
#   scripts/s3.sh reader                         a second user of the server that the AWS_… lines name, who reads everything
#                                                and creates objects below audit/, as who answers queries; prints its lines
#
# TALLY_S3_READ_ONLY=1 lets nothing be written; TALLY_S3_SECRET is another secret key than that of the AWS_… lines. With
# TALLY_S3_CERTIFICATE=FILE it speaks TLS and presents what FILE has, PEM: its key and its certificate. A folder whose
# `buckets` is a link to those of another one serves the same objects.
set -euo pipefail
NAME=s3
# shellcheck source=scripts/server.bash
source "$(dirname "${BASH_SOURCE[0]}")/server.bash"

VERSION=v1.8.0
ACCESS_KEY=tally-test
SECRET_KEY=${TALLY_S3_SECRET:-tally-test-secret}
READER_KEY=tally-reader
READER_SECRET=tally-reader-secret

# The server's path: on PATH, among Go's own programs, or in the cache.
program() {
  type -P versitygw && return
  local place
  for place in "$TALLY_CACHE/bin" "$(go env GOPATH 2>/dev/null || true)/bin"; do
    if [[ -x $place/versitygw ]]; then echo "$place/versitygw"; return; fi
  done
  return 1
}

fetch() {
  if program >/dev/null; then return; fi
  command -v go >/dev/null ||
    die 'go is missing; install Go 1.25 or later (https://go.dev/doc/install), or put versitygw on the PATH'
  mkdir -p "$TALLY_CACHE/bin"
  exec 9>"$TALLY_CACHE/bin/lock"
  flock 9
  if ! program >/dev/null; then
    say "building versitygw $VERSION (two minutes, once)"
    GOBIN=$TALLY_CACHE/bin go install "github.com/versity/versitygw/cmd/versitygw@$VERSION" >&2
  fi
  exec 9>&-
}

# A bucket is a folder below the one that is served.
launch() {
  local options=(--port "127.0.0.1:$1" --keep-alive --quiet --iam-dir "$DIR/users")
  if [[ ${TALLY_S3_READ_ONLY:-} == 1 ]]; then options+=(--readonly); fi
  if [[ -n ${TALLY_S3_CERTIFICATE:-} ]]; then
    options+=(--cert "$TALLY_S3_CERTIFICATE" --key "$TALLY_S3_CERTIFICATE")
  fi
  mkdir -p "$DIR/buckets/tally" "$DIR/users"
  ROOT_ACCESS_KEY=$ACCESS_KEY ROOT_SECRET_KEY=$SECRET_KEY nohup setsid "$(program)" \
    "${options[@]}" posix "$DIR/buckets" >"$DIR/server.log" 2>&1 </dev/null 9>&- &
  PID=$!
}

ready() { port_is_open "$1"; }

# The policy of docs/access.md for who answers queries.
policy() {
  local bucket=arn:aws:s3:::tally
  allow() { printf '{"Effect":"Allow","Principal":{"AWS":["%s"]},"Action":["s3:%s"],"Resource":["%s"]}' "$READER_KEY" "$1" "$2"; }
  printf '{"Version":"2012-10-17","Statement":[%s,%s,%s]}' \
    "$(allow ListBucket "$bucket")" "$(allow GetObject "$bucket/*")" "$(allow PutObject "$bucket/*/audit/*")"
}

reader() {
  local body status
  "$(program)" admin --access "$AWS_ACCESS_KEY_ID" --secret "$AWS_SECRET_ACCESS_KEY" --endpoint-url "$AWS_ENDPOINT_URL" \
    create-user --access "$READER_KEY" --secret "$READER_SECRET" --role user >&2 || die 'the server takes no second user'
  body=$(policy)
  status=$(curl -sS -o /dev/null -w '%{http_code}' --aws-sigv4 "aws:amz:${AWS_REGION:-us-east-1}:s3" \
    --user "$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY" -X PUT --data-binary "$body" \
    -H "x-amz-content-sha256: $(printf '%s' "$body" | sha256sum | cut -d' ' -f1)" "$AWS_ENDPOINT_URL/tally?policy=")
  [[ $status == 20? ]] || die "the server does not take the policy: $status"
  printf 'export AWS_ACCESS_KEY_ID=%s\nexport AWS_SECRET_ACCESS_KEY=%s\n' "$READER_KEY" "$READER_SECRET"
}

if [[ ${1:-} == reader ]]; then reader; exit; fi
server_arguments "$@"
case $VERB in
  fetch) fetch ;;
  start)
    fetch
    server_start 7070 30
    scheme=http
    if [[ -n ${TALLY_S3_CERTIFICATE:-} ]]; then scheme=https; fi
    cat <<ENV
export AWS_ENDPOINT_URL=$scheme://127.0.0.1:$PORT
export AWS_ACCESS_KEY_ID=$ACCESS_KEY
export AWS_SECRET_ACCESS_KEY=$SECRET_KEY
export AWS_REGION=us-east-1
export AWS_ALLOW_HTTP=true
ENV
    ;;
  stop) server_stop ;;
  wipe) server_wipe ;;
  status) server_status ;;
esac
