#!/bin/sh
# Makes a snapshot, from standard input, what Redis finds at its next start: redis-load.sh DATA [PROGRAM]
# What was there is set aside.
set -eu
umask 077
data=$1 program=${2:-redis-server}
files=$data/appendonlydir
mkdir -p "$data"
trap 'rm -f "$data/incoming.rdb"' EXIT
cat >"$data/incoming.rdb"
# The one of this very server, which is its own checker when it is called by that name.
own=$data/redis-check-rdb.valkey-check-rdb
ln -sf "$(command -v "$program")" "$own"
checker=$(command -v "$(dirname "$(command -v "$program")")/redis-check-rdb" || command -v redis-check-rdb || true)
[ -n "$checker" ] && [ "$(basename "$program")" = redis-server ] || checker=$own
[ "$(head -c 5 "$data/incoming.rdb")" = REDIS ] || [ "$(head -c 6 "$data/incoming.rdb")" = VALKEY ] || { echo "This is no snapshot of Redis" >&2; exit 1; }
"$checker" "$data/incoming.rdb" >/dev/null 2>&1 || { echo "This Redis cannot read the snapshot: it is damaged, or of a newer Redis" >&2; exit 1; }
rm -f "$own"
if [ -d "$files" ]; then
    mv "$files" "$data/before-$(date -u +%Y%m%dT%H%M%SZ)"
    # the newest two, should the restore have been a mistake
    ls -d "$data"/before-* | sort -r | tail -n +3 | while read -r old; do rm -rf "$old"; done
fi
mkdir "$files"
mv "$data/incoming.rdb" "$files/appendonly.aof.1.base.rdb"
echo 'file appendonly.aof.1.base.rdb seq 1 type b' >"$files/appendonly.aof.manifest"
