#!/bin/sh
# Becomes Redis, after a look at its file: what a power cut has torn is cut off, what cannot be read is set aside.
# In a container and without: redis.sh CONFIG DATA [PROGRAM [--NAME VALUE ...]]
#
#   REDIS_PASSWORD   asked of everybody, when set; handed over without showing it in the list of processes
set -eu
umask 077
config=$1 data=$2 program=${3:-redis-server}
shift 2
[ $# = 0 ] || shift
files=$data/appendonlydir
manifest=$files/appendonly.aof.manifest
aside=$data/damaged-$(date -u +%Y%m%dT%H%M%SZ)

word() { echo "data: $*" >&2; }

# The one of this very server, which is its own checker when it is called by that name.
checker=$(command -v "$(dirname "$(command -v "$program")")/redis-check-aof" || command -v redis-check-aof || true)
[ -n "$checker" ] && [ "$(basename "$program")" = redis-server ] || checker=$data/redis-check-aof.valkey-check-aof
check() { "$checker" "$@" "$manifest" 2>&1; }
damaged() { # only its own verdict counts: a checker that cannot run has none
    check >/dev/null && return 1
    [ $? = 1 ]
}

keep_a_copy() {
    [ ! -e "$aside" ] || return 0
    cp -R -p "$files" "$aside" 2>/dev/null || { rm -rf "$aside"; word "no room for a copy of what is repaired"; }
    # the newest three: they are for a person to look at
    ls -d "$data"/damaged-* 2>/dev/null | sort -r | tail -n +4 | while read -r old; do rm -rf "$old"; done
}

numbered() { # KIND: "NUMBER NAME" of the files of this kind, in order
    for file in "$files"/appendonly.aof.*."$1"*; do
        [ -e "$file" ] || continue
        name=${file##*/}
        number=${name#appendonly.aof.}
        echo "${number%%.*} $name"
    done | sort -n
}

list_again() { # the list of files is empty or gone: the newest base and what came after it
    base=$(numbered base | tail -n 1)
    [ -z "$base" ] || echo "file ${base#* } seq ${base%% *} type b"
    numbered incr | while read -r number name; do
        [ "$number" -lt "$(echo "${base:-0}" | cut -d ' ' -f 1)" ] || echo "file $name seq $number type i"
    done
}

repair() {
    if ! grep -q '^file ' "$manifest" 2>/dev/null; then
        keep_a_copy
        list_again >"$manifest.new"
        if [ -s "$manifest.new" ]; then
            mv "$manifest.new" "$manifest"
            word "the list of its files was lost and is made again"
        else
            rm -rf "$files"
            return
        fi
    fi
    damaged || return 0
    keep_a_copy
    if cut=$(echo y | check --fix) && ! damaged; then
        word "its end was torn, as by a power cut, and is cut off ($(echo "$cut" | sed -n 's/.*diff=\([0-9]*\).*/\1/p' | tail -n 1) bytes)"
    else
        rm -rf "$files"
        word "it cannot be read and is set aside in $aside; this is a new start"
    fi
}

mkdir -p "$data"
ln -sf "$(command -v "$program")" "$data/redis-check-aof.valkey-check-aof"
[ ! -d "$files" ] || repair
quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }
settings() { # not by echo, which reads \ in its own way
    printf 'include %s\ndir %s\n' "$(quoted "$config")" "$(quoted "$data")"
    [ -z "${REDIS_PASSWORD:-}" ] || printf 'requirepass %s\n' "$(quoted "$REDIS_PASSWORD")"
    while [ $# -gt 1 ]; do printf '%s %s\n' "${1#--}" "$2" && shift 2; done
}
exec "$program" - <<END
$(settings "$@")
END
