#!/bin/sh
# The stack with Docker Compose: run.sh VERB [ARGUMENT]
set -eu
cd "$(dirname "$0")/../.."
. deploy/docker/parts.sh

start() {
    echo "With Docker Compose $(docker compose version --short)"
    if running nginx backend1 backend2 backend3 redis; then
        remember
        echo "It runs already (make restart to load changes)"
        summary
        return
    fi
    settle forget
    choose_port
    echo "Building the image and starting (a minute or two the first time)"
    prepare
    quietly compose rm --force || true # what has ended: its end would be taken for one of now
    up || {
        why=$(culprit)
        quietly compose stop # the containers stay, for their logs
        die "$why"
    }
    tell_repairs
    watch
    summary
}

# Waits for all, but not a second longer than until one of them has died.
up() {
    compose up --detach --remove-orphans --no-build >run/docker-up.log 2>&1 &
    upper=$!
    while kill -0 $upper 2>/dev/null; do
        [ -z "$(compose ps --all --status exited --status restarting --quiet redis backend1 backend2 backend3 2>/dev/null)" ] || {
            kill $upper 2>/dev/null || true
            return 1
        }
        sleep 0.5
    done
    wait $upper && quietly compose up --detach --wait --no-build
}

restart() {
    running nginx || die "Nothing runs: make start"
    [ -e run/docker-exports ] && settle keep || settle forget
    choose_port
    prepare
    # Redis and Nginx only when their settings have changed. (No --no-deps: it changes what Compose compares.)
    quietly compose up --detach --wait redis || die "Redis does not come back (make logs-redis)"
    for backend in backend1 backend2 backend3; do
        echo "$backend ends its replies and starts again"
        { quietly compose rm --stop --force "$backend" && quietly compose up --detach --wait "$backend"; } ||
            die "$backend does not come back; the others go on (docker compose logs $backend)"
    done
    quietly compose up --detach --wait nginx || die "Nginx does not come back (make logs-nginx)"
    reload_nginx
    watch
    summary
}

# Only when its files have changed: a reload closes idle connections, on which a request may be on its way.
reload_nginx() {
    started=$(docker inspect --format '{{.State.StartedAt}}' "$(compose ps -q nginx)")
    [ -n "$(find nginx -newermt "$started")" ] || return 0
    echo "nginx reads its changed files"
    compose exec -T nginx sh /etc/chat/start.sh --render
    compose kill -s HUP nginx >/dev/null 2>&1
}

stop() {
    if [ -z "$(compose ps -q)" ]; then
        echo "Nothing runs"
        return
    fi
    echo "Stopping (running replies may end first)"
    # The backends first: so that replies end through Nginx.
    quietly compose stop backend1 backend2 backend3 || true
    quietly compose --profile ollama --profile monitoring down
    echo "Stopped; chats stay in the volume ${COMPOSE_PROJECT_NAME}_redis-data"
}

logs() {
    follow=
    [ ! -t 1 ] || follow=--follow
    case ${1:-} in
    backend) compose logs --tail 100 $follow backend1 backend2 backend3 ;;
    *) compose logs --tail 100 $follow ${1:-} ;;
    esac
}

doctor() {
    echo "ok    engine: Docker $(docker version --format '{{.Server.Version}}'), Compose $(docker compose version --short)"
    case $(docker version --format '{{.Server.Version}}') in
    1* | 20.* | 23.* | 24.*) echo "FAIL  engine: older than 25; repair: https://docs.docker.com/engine/install/" ;;
    esac
    docker info 2>/dev/null | grep -q 'No memory limit support' &&
        echo "warn  memory cgroup: off, so memory limits are ignored; repair: append cgroup_enable=memory cgroup_memory=1 to /boot/firmware/cmdline.txt and reboot"
    echo "ok    project: $COMPOSE_PROJECT_NAME"
    port=$(public_port)
    if [ -n "$port" ]; then
        echo "ok    port: the stack answers on $port"
    else
        port=${HTTP_PORT:-80}
        ! taken "$port" || echo "warn  port: $port is taken; repair: HTTP_PORT=8080 in .env"
    fi
    python3 deploy/given.py misspelt 2>/dev/null | sed 's/^./warn  settings: &/'
    quietly compose build backend1 || die "The image does not build"
    nginx=$(compose exec -T nginx nginx -v 2>&1 | sed -n 's|^nginx version: nginx/||p')
    [ -z "$nginx" ] || compose exec -T backend1 python -m app.doctor.floors nginx "$nginx" || true
    compose run --rm --quiet-pull --no-deps -T -e BACKEND_ID=doctor -e "URL=${URL:-}" backend1 python -m app doctor
}

clean() {
    compose --profile ollama --profile monitoring down --volumes --remove-orphans
    docker image rm "$COMPOSE_PROJECT_NAME:$VERSION" 2>/dev/null || true
    rm -rf .venv .venv-tools run
}

redis_cli() {
    compose exec $tty -e "REDISCLI_AUTH=${REDIS_PASSWORD:-}" redis sh -c '[ "$REDISCLI_AUTH" ] || unset REDISCLI_AUTH; exec redis-cli "$@"' redis-cli "$@"
}

snapshot() { # FILE
    running redis || die "Nothing runs: make start"
    compose exec -T -e "REDISCLI_AUTH=${REDIS_PASSWORD:-}" redis sh -c '[ "$REDISCLI_AUTH" ] || unset REDISCLI_AUTH
        trap "rm -f /data/backup.rdb" EXIT; redis-cli --rdb /data/backup.rdb >/dev/null && cat /data/backup.rdb' >"$1" 2>/dev/null ||
        die "Redis gives no snapshot (make logs-redis)"
}

load() { # FILE
    quietly compose up --no-start redis # its network and volume, which would be told at length
    compose run --rm --no-deps -T -v "$PWD/deploy/redis-load.sh:/etc/chat-redis-load.sh:ro" --entrypoint /bin/sh redis \
        /etc/chat-redis-load.sh /data <"$1"
}

setting() { # NAME
    [ -e run/docker-exports ] || settle forget >/dev/null
    eval "echo \"\${$1:-}\""
}

verb=$1
shift
name_the_project
case $verb in
start | restart) ;;
*) remember ;;
esac
case $verb in
start | restart | stop | logs | doctor | clean | snapshot | load | setting) "$verb" "$@" ;;
status) compose ps ;;
health) health && echo || die "unhealthy (make logs)" ;;
shell) compose exec $tty backend1 sh ;;
redis) redis_cli "$@" ;;
redis-monitor) redis_cli monitor ;;
esac
