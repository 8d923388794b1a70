#!/bin/sh
# The stack on the programs of this machine: makes the environment where it is missing, then deploy/native does the rest.
set -eu
cd "$(dirname "$0")/../.."
case $1 in
start) echo "Without Docker ($WHY)" && sh deploy/native/setup.sh run ;;
restart | doctor | load | setting) sh deploy/native/setup.sh run ;;
*) [ -x .venv/bin/python ] || { echo "Nothing runs here yet: make start" >&2; exit 1; } ;;
esac
# what has changed since the last start, once and not in each process
case $1 in start | restart) .venv/bin/python -m compileall -q app deploy || true ;; esac
exec .venv/bin/python -m deploy.native "$@"
