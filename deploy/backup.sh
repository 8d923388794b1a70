#!/bin/sh
# backup.sh backup [FILE]: the chats, .env and what it names of yours in one file, while everything runs.
# backup.sh restore FILE: the chats of such a file instead of those that are here; the rest where there is none.
set -eu
umask 077
here=$(pwd)
cd "$(dirname "$0")/.."

die() { echo "$*" >&2; exit 1; }
about() { sed -n 's/^version = "\(.*\)"/version=\1/p' pyproject.toml; echo "made=$(date -u +%Y-%m-%dT%H:%M:%SZ)"; }

OWN='AGENTS_DIR TOOLS_DIR MCP_CONFIG' # settings that name files of your own
MOST_KB=51200

place_of() { # SETTING: the file or folder it names, as seen from here
    named=$(sh deploy/chat.sh setting "$1" 2>/dev/null | tail -n 1)
    case $named in '~'*) named=$HOME${named#?} ;; esac
    printf %s "$named"
}

keep_own() {
    for name in $OWN; do
        place=$(place_of "$name")
        [ -n "$place" ] && [ -r "$place" ] || continue
        if [ "$(du -sk "$place" | cut -f 1)" -gt $MOST_KB ]; then
            echo "Left out: $name ($place) is over 50 MB" >&2
            continue
        fi
        mkdir -p "$folder/own" && cp -RLp "$place" "$folder/own/$name"
    done
}

give_own() {
    for name in $OWN; do
        [ -e "$folder/own/$name" ] || continue
        place=$(place_of "$name")
        if [ -z "$place" ]; then
            echo "Left out: $name of the backup, which is set nowhere here" >&2
        elif [ -e "$place" ]; then
            echo "$name here ($place) stays as it is"
        elif mkdir -p "$(dirname "$place")" && cp -Rp "$folder/own/$name" "$place"; then
            echo "$name of the backup, in $place"
        fi
    done
}

backup() {
    file=${1:-backups/chat-$(date +%Y%m%d-%H%M%S).tar.gz}
    case $file in /*) ;; *) [ -z "${1:-}" ] || file=$here/$file ;; esac
    mkdir -p "$(dirname "$file")"
    sh deploy/chat.sh snapshot "$folder/chats.rdb" || exit 1
    about >"$folder/about"
    [ ! -e .env ] || cp .env "$folder/env"
    keep_own
    tar -C "$folder" -czf "$file.new" . && mv "$file.new" "$file"
    echo "Written: $file ($(du -h "$file" | cut -f 1)); it holds every chat and the keys of .env, so keep it safe"
}

restore() {
    file=${1:-}
    [ -n "$file" ] || die "Which one? make restore FILE=backups/chat-….tar.gz"
    case $file in /*) ;; *) [ -e "$file" ] || file=$here/$file ;; esac
    [ -r "$file" ] || die "There is no file $file that can be read"
    tar -C "$folder" -xpzf "$file" 2>/dev/null && [ -s "$folder/chats.rdb" ] || die "$file is no backup of ours"
    if [ -e "$folder/env" ] && [ ! -e .env ]; then
        cp "$folder/env" .env
        echo "Settings .env of the backup"
    elif [ -e "$folder/env" ]; then
        echo "Settings .env here stays as it is"
    fi
    give_own
    sh deploy/chat.sh stop >/dev/null 2>&1 || true
    sh deploy/chat.sh load "$folder/chats.rdb" || die "Nothing was changed: make start goes on with the chats that are here"
    echo "Restored from $file; the chats that were here are set aside"
    sh deploy/chat.sh start
}

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
verb=$1
shift
case $verb in
backup | restore) "$verb" "$@" ;;
esac
