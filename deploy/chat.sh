#!/bin/sh
# Operates the stack: `chat.sh VERB [ARGUMENT]`, with Docker Compose where it works, else with the programs of this
# machine. MODE=docker or MODE=native decides it by hand; `chat.sh mode` tells.
set -eu
cd "$(dirname "$0")/.."

# In /proc, for a process of another user answers no signal.
native_runs() { [ -s run/supervisord.pid ] && [ -d "/proc/$(cat run/supervisord.pid)" ]; }

if [ -e run ] && ! { [ -r run ] && [ -w run ] && [ -x run ]; }; then
    owner=$(stat -c %U run)
    echo "run/ and data/ belong to $owner, who started the stack here: sudo -u $owner make $1; or, once it is stopped," \
        "take them over: sudo chown -R $(id -un) run data .venv" >&2
    exit 1
fi

# Says why Docker is not used, or nothing when it is.
why_not_docker() {
    if ! command -v docker >/dev/null; then
        echo "no Docker here"
        return
    fi
    case $(docker compose version --short 2>/dev/null) in
    2.* | v2.* | [3-9].* | v[3-9].*) ;;
    *) echo "Docker has no Compose v2 (https://docs.docker.com/compose/install/linux/)"; return ;;
    esac
    answer=$(docker version --format '{{.Server.Version}}' 2>&1) && return
    case $answer in
    *"permission denied"*) echo "you may not use Docker (sudo usermod -aG docker $(id -un), then log in again)" ;;
    *) echo "the Docker engine does not answer" ;;
    esac
}

mode=${MODE:-}
reason="MODE=$mode"
if [ -z "$mode" ] && native_runs; then
    mode=native reason="it is running"
elif [ -z "$mode" ]; then
    reason=$(why_not_docker)
    mode=${reason:+native}
fi

mode=${mode:-docker}
if [ "$1" = mode ]; then
    echo "$mode${reason:+: $reason}"
    exit
fi
if [ "$1" = clean ] && [ -t 0 ]; then # a person, not a script
    printf 'This deletes every chat here (make backup first?). Type yes to go on: '
    read -r answer || answer=
    [ "$answer" = yes ] || { echo "Nothing is removed"; exit 1; }
fi
case $mode in
docker) exec sh deploy/docker/run.sh "$@" ;;
native) WHY=$reason exec sh deploy/native/run.sh "$@" ;;
*) echo "MODE is docker or native, not $mode" >&2; exit 2 ;;
esac
