#!/bin/sh
# The stack with Docker Compose: run.sh VERB [ARGUMENT]
set -eu
cd "$(dirname "$0")/../.."

die() { echo "$*" >&2; exit 1; }

# A setting from the environment, else from .env.
setting() {
    eval "value=\${$1:-}"
    [ -n "$value" ] || value=$(sed -n "s/^ *$1 *= *//p" .env 2>/dev/null | tail -n 1 | sed "s/^[\"']//; s/[\"'] *\$//")
    echo "$value"
}

VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
export VERSION REVISION

files='-f docker-compose.yml'
if [ "$(setting PROVIDER)" = bedrock ] && [ -d "$HOME/.aws" ]; then
    files="$files -f deploy/docker/aws.yml"
    AWS_OWNER=$(id -u):$(id -g)
    export AWS_OWNER
fi
compose() { docker compose --ansi never --progress plain $files "$@"; }
tty=
[ -t 0 ] && [ -t 1 ] || tty=-T

public_port() { compose port nginx 8080 2>/dev/null | sed -n 's/.*://p' | head -n 1; }

taken() { # PORT
    grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F:]+ 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

choose_port() {
    wanted=$(setting HTTP_PORT)
    port=$(public_port)
    if [ -n "$port" ] && [ "${wanted:-$port}" = "$port" ]; then # it runs: stay there
        HTTP_PORT=$port
    elif [ -n "$wanted" ]; then
        taken "$wanted" && die "Port $wanted is taken: choose another one with HTTP_PORT in .env, or free it (sudo ss -ltnp)"
        HTTP_PORT=$wanted
    elif ! taken 80; then
        HTTP_PORT=80
    else
        taken 8080 && die "Ports 80 and 8080 are taken: choose another one, as in HTTP_PORT=8081 make start"
        echo "Port     8080, because 80 is taken"
        HTTP_PORT=8080
    fi
    export HTTP_PORT
}

# With ALLOWED_HOSTS the backends answer only to one of them.
health() {
    host=$(setting ALLOWED_HOSTS | sed 's/[ ,].*//')
    compose exec -T nginx wget -q -O - --header "Host: ${host:-localhost}" http://127.0.0.1:8080/health 2>/dev/null
}
field() { health | sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

summary() {
    KEYED=$([ -z "$(setting API_KEYS)" ] || echo yes) sh deploy/summary.sh "$(public_port)" "$(field provider)" "$(field model)"
}

quietly() { # shows what a command said only when it failed
    said=$("$@" 2>&1) || { echo "$said" | tail -n 25 >&2; return 1; }
}

# The image of this checkout, and that it can be started with these settings at all: one line if not.
prepare() {
    quietly compose build backend1 || die "The image does not build"
    wrong=$(compose run --rm --no-deps -T backend1 python -c 'from app.settings import load; load()' 2>&1) ||
        die "$(echo "$wrong" | grep -m 1 'Wrong setting' || echo "$wrong" | tail -n 3)"
}

running() { # SERVICE...: whether all of them do
    [ "$(compose ps --status running --quiet "$@" 2>/dev/null | wc -l)" = $# ]
}

start() {
    echo "With Docker Compose $(docker compose version --short)"
    if running nginx backend1 backend2 backend3 redis; then
        echo "It runs already (make restart to load changes)"
        summary
        return
    fi
    choose_port
    echo "Building the image and starting (a minute or two the first time)"
    prepare
    quietly compose up --detach --wait --remove-orphans || die "The stack does not start (make logs)"
    summary
}

restart() {
    running nginx || die "Nothing runs: make start"
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
    quietly compose --profile ollama down
    echo "Stopped; chats stay in the volume redis-data"
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
    port=$(public_port)
    if [ -n "$port" ]; then
        echo "ok    port: the stack answers on $port"
    else
        port=$(setting HTTP_PORT)
        ! taken "${port:-80}" || echo "warn  port: ${port:-80} is taken; repair: HTTP_PORT=8080 in .env"
    fi
    quietly compose build backend1 || die "The image does not build"
    nginx=$(compose exec -T nginx nginx -v 2>&1 | sed -n 's|^nginx version: nginx/||p')
    [ -z "$nginx" ] || compose exec -T backend1 python -m app.doctor.floors nginx "$nginx" || true
    compose run --rm --quiet-pull --no-deps -T -e BACKEND_ID=doctor backend1 python -m app doctor
}

clean() {
    compose --profile ollama down --volumes --remove-orphans
    docker image rm "fastapi-agent-chat:$VERSION" 2>/dev/null || true
    rm -rf .venv .venv-tools
}

redis_cli() {
    password=$(setting REDIS_PASSWORD)
    compose exec $tty redis redis-cli ${password:+--no-auth-warning -a "$password"} "$@"
}

verb=$1
shift
case $verb in
start | restart | stop | logs | doctor | clean) "$verb" "$@" ;;
status) compose ps ;;
health) health && echo || die "unhealthy (make logs)" ;;
shell) compose exec $tty backend1 sh ;;
redis) redis_cli ;;
redis-monitor) redis_cli monitor ;;
esac
