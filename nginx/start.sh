#!/bin/sh
# Fills in nginx.conf.template and becomes Nginx. The same in a container and on a machine without Docker.
#
#   LISTEN           a port (all addresses, IPv6 where there is one) or address:port    (8080)
#   BACKENDS         "host:port host:port ..."                                          (127.0.0.1:8000)
#   RESOLVER         set: BACKENDS is one name:port, looked up again and again while Nginx runs.
#                    "auto" takes the name server of this machine
#   TRUSTED_PROXIES  addresses of proxies in front, whose X-Forwarded-For is believed, by spaces or commas
#   RUN_DIR          pid file and the rendered configuration                            (/tmp/nginx)
#   WORKERS          worker processes                                                   (2)
#   NGINX            the program                                                        (nginx)
set -eu

here=$(cd "$(dirname "$0")" && pwd)
run=${RUN_DIR:-/tmp/nginx}
nginx=${NGINX:-nginx}
unset NGINX # Nginx itself means inherited sockets by it
backends=${BACKENDS:-127.0.0.1:8000}
resolver=${RESOLVER:-}
[ "$resolver" != auto ] || resolver=$(awk '$1 == "nameserver" { print ($2 ~ /:/) ? "[" $2 "]" : $2; exit }' /etc/resolv.conf)

# Looking names up inside an upstream came with 1.27.3.
can_resolve() {
    "$nginx" -v 2>&1 | awk -F'[/. ]' '{ exit !($4 * 1000000 + $5 * 1000 + $6 >= 1027003) }'
}

upstream() { # NAME KEEPALIVE: one group, in turn over the backends
    echo "    upstream $1 {"
    echo "        zone $1 256k;"
    [ -z "$resolver" ] || echo "        resolver $resolver valid=2s ipv6=off;"
    for backend in $backends; do
        # max_fails=0: a slow model must not take a backend out; a dead one costs a refused connect.
        echo "        server $backend max_fails=0${resolver:+ resolve};"
    done
    [ -z "$2" ] || echo "        keepalive $2; keepalive_timeout 60s;   # shorter than the 75 s of the backends"
    echo "    }"
}

upstreams() {
    if [ -n "$resolver" ] && ! can_resolve; then
        # Each request looks the name up (kept for 2 s) and starts at a random one of its addresses.
        echo "    resolver $resolver valid=2s ipv6=off;"
        echo "    map \$request_method \$chat_backend { default $backends; }"
        return
    fi
    upstream chat_kept 64
    upstream chat_fresh ''
    echo "    map \$request_method \$chat_backend { GET chat_kept; HEAD chat_kept; default chat_fresh; }"
}

extras() {
    trusted=$(echo "${TRUSTED_PROXIES:-}" | tr ',' ' ')
    for proxy in $trusted; do echo "    set_real_ip_from $proxy;"; done
    # Recursive: of several trusted proxies in a row, the client is whom the outermost one names.
    [ -z "$trusted" ] || echo "    real_ip_header X-Forwarded-For; real_ip_recursive on;"
}

listen() {
    echo "        listen ${LISTEN:-8080} default_server backlog=4096;"
    case ${LISTEN:-8080} in *:*) return ;; esac
    [ ! -s /proc/net/if_inet6 ] || echo "        listen [::]:${LISTEN:-8080} default_server ipv6only=on backlog=4096;"
}

quoted() { # a path inside "..." in nginx.conf, by way of sed
    printf %s "$1" | sed 's/[\\"]/\\&/g; s/[\\&|]/\\&/g'
}

# A master that was killed leaves its workers on the port: they are in its process group.
if [ "${1:-}" != --render ] && [ -s "$run/nginx.pid" ]; then
    pkill -TERM -g "$(cat "$run/nginx.pid")" -x nginx 2>/dev/null || true
fi

mkdir -p "$run"
upstreams >"$run/upstream.conf"
extras >>"$run/upstream.conf"
listen >"$run/listen.conf"
sed -e "/@UPSTREAM@/{r $run/upstream.conf" -e 'd;}' -e "/@LISTEN@/{r $run/listen.conf" -e 'd;}' \
    -e "s|@RUN@|$(quoted "$run")|g; s|@HERE@|$(quoted "$here")|g; s|@WORKERS@|${WORKERS:-2}|" "$here/nginx.conf.template" >"$run/nginx.conf"
# Two descriptors for each stream: as many as this machine allows.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true
[ "${1:-}" != --render ] || exit 0
exec "$nginx" -e stderr -c "$run/nginx.conf"
