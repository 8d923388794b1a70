#!/bin/sh
# Becomes Redis, after a look at its files: what a power cut has torn is cut off, what cannot be read is set aside.
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

# The checker of this very server, which is its own when it is called by that name.
checker() { # aof | rdb
    found=$(command -v "$(dirname "$(command -v "$program")")/redis-check-$1" || command -v "redis-check-$1" || true)
    if [ -z "$found" ] || [ "$(basename "$program")" != redis-server ]; then
        found=$data/redis-check-$1.valkey-check-$1
        ln -sf "$(command -v "$program")" "$found"
    fi
    echo "$found"
}

# File by file: the checker of Valkey 9.1 does not know its own base file when it reads the list. Only its own verdict
# counts: a checker that cannot run has none.
damaged() { # FILE; what the checker said is in $said
    [ -s "$1" ] || return 1
    case $1 in
    *.rdb) checker=$check_rdb ;;
    *) checker=$check_aof ;;
    esac
    { said=$("$checker" "$1"); } 2>/dev/null && return 1
    [ $? = 1 ]
}

only_the_newest() { # three: they are for a person to look at
    ls -d "$data"/damaged-* 2>/dev/null | sort -r | tail -n +4 | while read -r old; do rm -rf "$old"; done
}

# Not the whole file, nor a second look at it: a start must not take longer for a few bytes.
cut_off() { # FILE: its end behind what the checker found whole
    whole=$(printf %s "$said" | LC_ALL=C sed -n 's/.*ok_up_to=\([0-9]*\),.*/\1/p' | tail -n 1)
    [ -n "$whole" ] || return 1
    cut=$(($(wc -c <"$1") - whole))
    { mkdir -p "$aside" && tail -c "$cut" "$1" >"$aside/${1##*/}.end"; } 2>/dev/null ||
        { rm -rf "$aside"; word "no room for a copy of what is cut off"; }
    dd if=/dev/null of="$1" bs=1 seek="$whole" count=0 2>/dev/null || return 1
    word "its end was torn, as by a power cut, and is cut off ($cut bytes)"
}

set_aside() {
    rm -rf "$aside"
    mv "$files" "$aside"
    word "it cannot be read and is set aside in $aside; this is a new start"
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

find_the_list() {
    ! grep -q '^file ' "$manifest" 2>/dev/null || return 0
    cp -R -p -l "$files" "$aside" 2>/dev/null || cp -R -p "$files" "$aside" 2>/dev/null ||
        { rm -rf "$aside"; word "no room for a copy of what is repaired"; }
    list_again >"$manifest.new"
    mv "$manifest.new" "$manifest"
    if [ -s "$manifest" ]; then
        word "the list of its files was lost and is made again"
    else
        rm -rf "$files"
    fi
}

repair() { # Redis reads what the list names: its base, and then one change after the other
    last=$(sed -n 's/^file \([^ ]*\) .* type i.*/\1/p' "$manifest" | tail -n 1)
    for name in $(sed -n 's/^file \([^ ]*\) .* type [bi].*/\1/p' "$manifest"); do
        damaged "$files/$name" || continue
        if [ "$name" != "$last" ]; then
            set_aside
            return
        fi
        cut_off "$files/$name" || { set_aside; return; }
    done
}

mkdir -p "$data"
check_aof=$(checker aof) check_rdb=$(checker rdb)
[ ! -d "$files" ] || find_the_list
[ ! -d "$files" ] || repair
# what Redis was writing anew when it was killed, as large as all it holds; it removes only that of its own life
rm -f "$data"/temp-*.aof "$data"/temp-*.rdb
only_the_newest

quoted() { printf '"%s"' "$(printf %s "$1" | sed 's/[\\"]/\\&/g')"; }
settings() { # not by echo, which reads \ in its own way
    printf 'include %s\ndir %s\n' "$(quoted "$config")" "$(quoted "$data")"
    [ -z "${REDIS_PASSWORD:-}" ] || printf 'requirepass %s\n' "$(quoted "$REDIS_PASSWORD")"
    while [ $# -gt 1 ]; do printf '%s %s\n' "${1#--}" "$2" && shift 2; done
}
exec "$program" - <<END
$(settings "$@")
END
