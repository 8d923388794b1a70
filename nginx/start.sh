#!/bin/sh
# Fills in nginx.conf.template and becomes Nginx. The same in a container and on a machine without Docker.
#
#   LISTEN           ports (all addresses, IPv6 where there is one) or address:port      (8080)
#   BACKENDS         "host:port host:port ..."                                           (127.0.0.1:8000)
#   RESOLVER         set: BACKENDS is one name:port, looked up again and again while Nginx runs.
#                    "auto" takes the name server of this machine
#   TRUSTED_PROXIES  addresses of proxies in front, whose X-Forwarded-For is believed, also through several
#   BASE_PATH        a path in front of everything, such as /chat: taken off, and not needed
#   CORS_ORIGINS     origins that may read what Nginx answers itself, as in the settings of the backends
#   RUN_DIR          pid file and the rendered configuration                             (/tmp/nginx)
#   WORKERS          worker processes                                                    (2)
#   NGINX            the program                                                         (nginx)
set -euf

here=$(cd "$(dirname "$0")" && pwd)
run=${RUN_DIR:-/tmp/nginx} # an absolute path
nginx=${NGINX:-nginx}
unset NGINX # Nginx itself means inherited sockets by it
backends=${BACKENDS:-127.0.0.1:8000}
resolver=${RESOLVER:-}
[ "$resolver" != auto ] || resolver=$(awk '$1 == "nameserver" { print ($2 ~ /:/) ? "[" $2 "]" : $2; exit }' /etc/resolv.conf)

version=$("$nginx" -v 2>&1 | awk -F'[/. ]' '/nginx version/ { print $4 * 1000000 + $5 * 1000 + $6 }')
version=${version:-0}

listed() { echo "$*" | tr ', ' '\n\n' | grep -E '^[][A-Za-z0-9.:/_*-]+$' || true; } # settings allow commas and spaces

upstream() { # NAME KEEPALIVE: one group, in turn over the backends
    echo "    upstream $1 {"
    echo "        zone $1 256k;"
    # max_fails=0: a slow model must not take a backend out; a dead one costs a refused connect.
    for backend in $backends; do echo "        server $backend max_fails=0;"; done
    case $2 in
    0) [ "$version" -lt 1029007 ] || echo "        keepalive 0;" ;; # from there on connections are kept unasked
    *) echo "        keepalive $2; keepalive_timeout 60s;   # shorter than the 75 s of the backends" ;;
    esac
    echo "    }"
}

upstreams() {
    if [ -n "$resolver" ]; then
        # Each request looks the name up (kept for 2 s), starts at a random one of its addresses and goes on to the
        # others. Not "server ... resolve": there a request whose backend has just gone finds "no live upstreams"
        # when the name changes while it waits (nginx 1.27.3 to 1.31, github.com/nginx/nginx/issues/1656).
        echo "    resolver $resolver valid=2s ipv6=off;"
        echo "    map \$request_method \$chat_backend { default $backends; }"
        return
    fi
    upstream chat_kept 64
    upstream chat_fresh 0
    echo "    map \$request_method \$chat_backend { GET chat_kept; HEAD chat_kept; default chat_fresh; }"
}

proxies() {
    for proxy in $(listed "${TRUSTED_PROXIES:-}"); do echo "    set_real_ip_from $proxy;"; done
    [ -z "${TRUSTED_PROXIES:-}" ] || echo "    real_ip_header X-Forwarded-For; real_ip_recursive on;"
}

# Captures in a map are safe from 1.30.7 and 1.31.9 on (CVE-2026-93479), and where a distribution mends its old branch.
captures() {
    [ "$version" -lt 1027000 ] || { [ "$version" -ge 1030007 ] && [ "$version" -lt 1031000 ]; } ||
        [ "$version" -ge 1031009 ]
}

# One client has one IPv4 address, but a whole /64 of IPv6 addresses.
clients() {
    if ! captures; then
        echo "    map \$binary_remote_addr \$chat_client { default \$binary_remote_addr; }"
        return
    fi
    echo "    map \$remote_addr \$chat_client {"
    for groups in 3 2 1 0; do
        echo "        \"~^(?<net>[0-9a-f]+(?::[0-9a-f]+){$groups}):$([ $groups = 3 ] || echo :)\" \$net;"
    done
    echo "        default \$remote_addr;"
    echo "    }"
}

origins() {
    echo "    map \$http_origin \$chat_origin {"
    for origin in $(listed "${CORS_ORIGINS:-}"); do
        case $origin in
        '*') echo "        default *;" ;;
        *) echo "        \"$origin\" \$http_origin;" ;;
        esac
    done
    echo "    }"
}

listen() {
    for place in $(listed "${LISTEN:-8080}"); do
        echo "        listen $place default_server backlog=4096;"
        case $place in *:*) continue ;; esac
        # Not [ -s ]: what lies in /proc has no size.
        [ -z "$(cat /proc/net/if_inet6 2>/dev/null)" ] ||
            echo "        listen [::]:$place default_server ipv6only=on backlog=4096;"
    done
}

# Below BASE_PATH is what is at the root, however often it stands there: a backend takes off one more. But not the
# addresses of problems, as nobody is let in to them from outside.
below() {
    base=$(printf %s "/${BASE_PATH:-}" | sed 's|//*|/|g; s|/$||' | grep -xE '(/[A-Za-z0-9._~-]+)+' | sed 's/[.]/[.]/g') || true
    [ -n "$base" ] || return 0
    echo "        rewrite \"^(?:$base)+(/(?!(?:openai-)?problem\$).+)\$\" \$1;"
    echo "        if (\$request_method ~ \"^(?:GET|HEAD)\$\") { rewrite \"^$base/?\$\" /; }"
}

quoted() { # a path inside "..." in nginx.conf, by way of sed
    printf %s "$1" | sed 's/[\\"]/\\&/g; s/[\\&|]/\\&/g'
}

# A master that was killed leaves its workers on the port: they are in its process group.
if [ "${1:-}" != --render ] && [ -s "$run/nginx.pid" ]; then
    pkill -TERM -g "$(cat "$run/nginx.pid")" -x nginx 2>/dev/null || true
fi

mkdir -p "$run"
chmod a+x "$run" 2>/dev/null || true # as root Nginx reads large bodies as another user, whatever our umask
{ upstreams; proxies; clients; origins; } >"$run/upstream.conf"
{ listen; below; } >"$run/listen.conf"
sed -e "/@UPSTREAM@/{r $run/upstream.conf" -e 'd;}' -e "/@LISTEN@/{r $run/listen.conf" -e 'd;}' \
    -e "s|@RUN@|$(quoted "$run")|g; s|@HERE@|$(quoted "$here")|g; s|@WORKERS@|${WORKERS:-2}|" "$here/nginx.conf.template" >"$run/nginx.conf"
# Two descriptors for each stream: as many as this machine allows.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
[ "${1:-}" != --render ] || exit 0
cd "$run"
exec "$nginx" -e stderr -p ./ -c "$run/nginx.conf"
