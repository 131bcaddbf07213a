# How a local server of the tests is started, watched and stopped; sourced by kafka.sh and s3.sh.
#
# An instance is a folder. It holds `pid`, `port`, `server.lock`, `server.log` and the server's own data, so several
# instances run side by side, and one that was stopped comes back on the port it had.
# shellcheck shell=bash

TALLY_CACHE=${TALLY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/tally}

say() { printf '%s: %s\n' "$NAME" "$*" >&2; }
die() { say "$@"; exit 1; }

# Reads `VERB [--port N] [--dir DIR]` into VERB, PORT (empty = the instance's own, else the default) and DIR.
server_arguments() {
  VERB=${1:-} PORT='' DIR=$TALLY_CACHE/run/$NAME
  [[ $VERB =~ ^(fetch|start|stop|wipe|status)$ ]] || usage
  shift
  while [[ $# -gt 0 ]]; do
    case $1 in
      --port) PORT=${2:-}; [[ $PORT =~ ^[0-9]+$ ]] || usage ;;
      --dir) DIR=${2:-}; [[ -n $DIR ]] || usage ;;
      *) usage ;;
    esac
    shift 2
  done
  if [[ $VERB == start ]]; then mkdir -p "$DIR"; fi
  if [[ -d $DIR ]]; then DIR=$(cd "$DIR" && pwd); fi
}

usage() {
  printf 'usage: scripts/%s.sh start|stop|wipe|status|fetch [--port N] [--dir DIR]\n' "$NAME" >&2
  exit 2
}

port_is_open() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port nobody listens on, below the range that the kernel hands to outgoing connections.
free_port() {
  local port
  for _ in {1..100}; do
    port=$((20000 + RANDOM % 12000))
    port_is_open "$port" || { echo "$port"; return; }
  done
  die 'no free port found between 20000 and 32000'
}

# Whether this instance runs. The folder in the command line tells it from a stranger that got the same pid.
server_is_up() {
  local pid
  pid=$(cat "$DIR/pid" 2>/dev/null) && [[ -n $pid ]] && [[ $(ps -o args= -p "$pid" 2>/dev/null) == *"$DIR"* ]]
}

# server_start DEFAULT_PORT SECONDS: runs `launch PORT`, which leaves a process behind and sets PID, and waits
# until `ready PORT` holds. `--port 0` takes a free port, and another one when somebody was faster.
# File descriptor 9 is the lock of whoever starts this instance; `launch` closes it for the server.
server_start() {
  local default_port=$1 patience_s=$2 tries=1 port
  exec 9>"$DIR/server.lock"
  flock 9
  if server_is_up; then
    PORT=$(cat "$DIR/port")
    say "is already up on port $PORT"
    return
  fi
  rm -f "$DIR/pid"
  port=${PORT:-$(cat "$DIR/port" 2>/dev/null || echo "$default_port")}
  if [[ $port == 0 ]]; then
    tries=5
  elif port_is_open "$port"; then
    die "port $port is taken by another program; give --port N, or --port 0 for a free one"
  fi
  while ((tries-- > 0)); do
    if [[ $port == 0 ]]; then PORT=$(free_port); else PORT=$port; fi
    launch "$PORT"
    echo "$PID" >"$DIR/pid"
    echo "$PORT" >"$DIR/port"
    if server_wait "$patience_s"; then return; fi
    kill -KILL "$PID" 2>/dev/null || true
    rm -f "$DIR/pid"
  done
  tail -n 20 "$DIR/server.log" >&2
  die "did not come up; its log is $DIR/server.log"
}

server_wait() {
  local deadline=$((SECONDS + $1))
  while ((SECONDS < deadline)); do
    kill -0 "$PID" 2>/dev/null || return 1
    if ready "$PORT"; then return 0; fi
    sleep 0.1
  done
  return 1
}

# Asks the server to end and, after 20 s, ends it. Nothing to stop is no error.
server_stop() {
  local pid
  if server_is_up; then
    pid=$(cat "$DIR/pid")
    kill "$pid" 2>/dev/null || true
    kill -CONT "$pid" 2>/dev/null || true
    for _ in {1..200}; do
      server_is_up || break
      sleep 0.1
    done
    if server_is_up; then kill -KILL "$pid" 2>/dev/null || true; fi
  fi
  rm -f "$DIR/pid"
}

# Stops the server and removes its folder, but no folder that is not an instance.
server_wipe() {
  server_stop
  [[ -d $DIR ]] || return 0
  if [[ ! -e $DIR/server.lock && -n $(ls -A "$DIR") ]]; then
    die "$DIR is not a folder of this server: left as it is"
  fi
  rm -rf "$DIR"
}

server_status() {
  if server_is_up; then
    printf 'up 127.0.0.1:%s pid %s dir %s\n' "$(cat "$DIR/port")" "$(cat "$DIR/pid")" "$DIR"
  else
    printf 'down dir %s\n' "$DIR"
    return 1
  fi
}
