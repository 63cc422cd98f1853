# shellcheck shell=bash
# Source this: `step` runs a command that takes long, and shows on stderr that it goes on.

# Seconds before the first sign, and between two lines where stderr is no terminal.
STEP_FIRST_S=${STEP_FIRST_S:-2}
STEP_INTERVAL_S=${STEP_INTERVAL_S:-15}

# step TEXT LOG COMMAND...: run a command; its output goes to the file LOG.
#
# Shows TEXT, for how long the command runs, and the last line of its output: on a terminal in one
# line that changes, else in a new line now and then. The exit status is that of the command.
step() {
  local text=$1 log=$2 status=0 ticker
  shift 2
  mkdir -p "$(dirname "$log")"
  : >"$log"
  # The command stays in the foreground, where Ctrl-C reaches it.
  _step_ticker "$text" "$log" $$ &
  ticker=$!
  "$@" >"$log" 2>&1 || status=$?
  kill "$ticker" 2>/dev/null || true
  wait "$ticker" 2>/dev/null || true
  [ ! -t 2 ] || printf '\r\033[K' >&2
  return "$status"
}

# _step_ticker TEXT LOG PID: show progress until killed, or until the process PID has ended
_step_ticker() {
  local began=$SECONDS said=$SECONDS elapsed last width
  sleep "$STEP_FIRST_S"
  said=$((SECONDS - STEP_INTERVAL_S))
  while kill -0 "$3" 2>/dev/null; do
    elapsed=$((SECONDS - began))
    last=$(tail -n 1 "$2" 2>/dev/null | tr -d '\r' | sed 's/^ *//')
    if [ -t 2 ]; then
      width=$(tput cols 2>/dev/null || echo 80)
      printf '\r\033[K%.*s' "$((width - 1))" "$1 ($elapsed s) $last" >&2
    elif [ $((SECONDS - said)) -ge "$STEP_INTERVAL_S" ]; then
      said=$SECONDS
      printf '%.150s\n' "$1 ($elapsed s) $last" >&2
    fi
    sleep 1
  done
}
