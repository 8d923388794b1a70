# What deploy/docker/run.sh is made of: the project's name, the settings, the port, and looking at what runs.

die() { printf '%s\n' "$*" >&2; exit 1; }

VERSION=${VERSION:-$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)}
REVISION=$(git rev-parse --short HEAD 2>/dev/null || echo unknown)
export VERSION REVISION
tty=
[ -t 0 ] && [ -t 1 ] || tty=-T
files='-f docker-compose.yml'
watchers='prometheus grafana' watched=
umask 022 # what is mounted is read by other users
mkdir -p run
# The files that containers read, also where this checkout was made with umask 077.
chmod -R go+rX nginx deploy/monitoring deploy/redis.conf deploy/redis.sh deploy/redis-load.sh 2>/dev/null || true

compose() { docker compose --ansi never --progress plain --env-file /dev/null $files "$@"; }

quietly() { # shows what a command said only when it failed
    said=$("$@" 2>&1) || { echo "$said" | tail -n 25 >&2; return 1; }
}

# The name of this checkout's containers and volumes. One that Docker knows from another folder is not ours.
name_the_project() {
    [ -n "${COMPOSE_PROJECT_NAME:-}" ] || COMPOSE_PROJECT_NAME=$(sed -n 's/^COMPOSE_PROJECT_NAME=//p' .env 2>/dev/null | tail -n 1 | tr -d '"\r'"'")
    [ -n "$COMPOSE_PROJECT_NAME" ] || COMPOSE_PROJECT_NAME=$(cat run/docker-project 2>/dev/null || true)
    if [ -z "$COMPOSE_PROJECT_NAME" ]; then
        COMPOSE_PROJECT_NAME=$(choose_name)
        echo "$COMPOSE_PROJECT_NAME" >run/docker-project
    fi
    export COMPOSE_PROJECT_NAME
}

choose_name() {
    label=com.docker.compose.project
    theirs=$(docker ps --all --filter "label=$label=fastapi-agent-chat" --format '{{.Label "com.docker.compose.project.working_dir"}}' | head -n 1)
    volume=$(docker volume ls --quiet --filter "label=$label=fastapi-agent-chat" | head -n 1)
    if [ "$theirs" = "$PWD" ] || [ -z "$theirs$volume" ]; then
        echo fastapi-agent-chat
        return
    fi
    name=chat-$(basename "$PWD" | tr 'A-Z' 'a-z' | tr -cd 'a-z0-9' | cut -c 1-20)-$(echo "$PWD" | cksum | cut -d ' ' -f 1)
    if [ -n "$theirs" ]; then
        echo "Project  $name, because fastapi-agent-chat is the one in $theirs" >&2
    else
        echo "Project  $name; to go on with the chats of the volume $volume: COMPOSE_PROJECT_NAME=fastapi-agent-chat in .env" >&2
    fi
    echo "$name"
}

# The settings of the shell and of .env, for this shell and in run/docker.yml: deploy/given.py, here or in the image.
settle() { # keep | forget: what the running stack was started with
    rm -rf run/before && mkdir -p run/before
    cp -p run/docker-given.json run/docker-exports run/docker.yml run/before 2>/dev/null || true
    given "$1" || exit 2
    remember
}

# A setting that was refused is not remembered.
forget_refused() { cp -p run/before/* run 2>/dev/null || true; }

# As the running stack has them, or is about to.
remember() {
    export ENV_FILE=/dev/null
    [ -e run/docker-exports ] || return 0
    . ./run/docker-exports
    AWS_OWNER=$(id -u):$(id -g)
    export AWS_OWNER
    case ${AGENTS_DIR:-} in '~'*) AGENTS_DIR=$HOME${AGENTS_DIR#?} ;; esac
    case ${TOOLS_DIR:-} in '~'*) TOOLS_DIR=$HOME${TOOLS_DIR#?} ;; esac
    case ${MCP_CONFIG:-} in '~'*) MCP_CONFIG=$HOME${MCP_CONFIG#?} ;; esac
    case ${PROVIDER:-} in
    [Bb]edrock | BEDROCK) [ ! -d "$HOME/.aws" ] || files="$files -f deploy/docker/aws.yml" ;;
    esac
    files="$files -f run/docker.yml"
    case ,${COMPOSE_PROFILES:-}, in
    *,monitoring,*)
        watched=yes # started apart: see watch
        COMPOSE_PROFILES=$(echo ",$COMPOSE_PROFILES," | sed 's/,monitoring,/,/; s/^,//; s/,$//')
        export COMPOSE_PROFILES
        ;;
    esac
}

# Prometheus and Grafana beside the stack, which does not need them: what is wrong there is said, and it goes on.
watch() {
    if [ -z "$watched" ]; then
        quietly compose --profile monitoring rm --stop --force $watchers || true
        return
    fi
    for part in $watchers; do
        compose --profile monitoring up --detach --no-deps --wait --wait-timeout 60 $part >run/docker-watch.log 2>&1 && continue
        words=$(said $part | tail -n 1)
        words=${words:-$(tail -n 1 run/docker-watch.log)} # no echo: it may have a backslash in it
        printf 'Warning  %s does not start: %s; the chats do without (make restart tries again)\n' $part "$words" >&2
    done
    compose --profile monitoring kill -s HUP prometheus >/dev/null 2>&1 || true # reads its changed files
}

given() {
    if python3 -c 'import sys; sys.exit(sys.version_info < (3, 7))' 2>/dev/null; then
        python3 deploy/given.py run "$1"
        return
    fi
    quietly docker compose -f docker-compose.yml --env-file /dev/null build backend1 || die "The image does not build"
    handed=$(sed -n 's/^# \([A-Z_]*\)=.*/-e \1/p' .env.example) # in this shell's environment or not
    docker run --rm --network none --user "$(id -u):$(id -g)" $handed -v "$PWD:/here" -w /here \
        "$COMPOSE_PROJECT_NAME:$VERSION" python deploy/given.py run "$1"
}

public_port() { compose port nginx 8080 2>/dev/null | sed -n 's/.*://p' | head -n 1; }

taken() { # PORT
    grep -qE "^ *[0-9]+: [0-9A-F]+:$(printf %04X "$1") [0-9A-F:]+ 0A " /proc/net/tcp /proc/net/tcp6 2>/dev/null
}

choose_port() {
    wanted=${HTTP_PORT:-}
    case $wanted in *[!0-9]*) die "Wrong setting: HTTP_PORT must be a number" ;; esac
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
    host=$(echo "${ALLOWED_HOSTS:-}" | sed 's/[ ,].*//')
    compose exec -T nginx env http_proxy= HTTP_PROXY= wget -q -O - --header "Host: ${host:-localhost}" http://127.0.0.1:8080/health 2>/dev/null
}
field() { health | sed -n "s/.*\"$1\": *\"\([^\"]*\)\".*/\1/p"; }

summary() {
    KEYED=$([ -z "${API_KEYS:-}" ] || echo yes) BIND=${HTTP_BIND:-} sh deploy/summary.sh "$(public_port)" "$(field provider)" "$(field model)"
}

# The image of this checkout, and that it can be started with these settings and agents at all: one line if not.
prepare() {
    quietly compose build backend1 || die "The image does not build"
    wrong=$(compose run --rm --no-deps -T -e HTTP_BIND -e TRUSTED_PROXIES backend1 python -m app check 2>&1) || {
        forget_refused
        die "$(echo "$wrong" | grep -m 1 'Wrong setting' || echo "$wrong" | tail -n 3)"
    }
}

running() { # SERVICE...: whether all of them do
    [ "$(compose ps --status running --quiet "$@" 2>/dev/null | wc -l)" = $# ]
}

# Which part keeps the stack from starting, in its own words.
culprit() {
    if [ -z "$(compose ps --all --quiet 2>/dev/null)" ]; then # no image, no network
        echo "The stack does not start: $(tail -n 1 run/docker-up.log)"
        return
    fi
    for part in redis backend1 backend2 backend3 nginx; do
        state=$(compose ps --all --format '{{.State}} {{.Health}}' "$part" 2>/dev/null)
        [ "$state" = "running healthy" ] || break
    done
    words=$(said "$part" | grep -v WARNING | grep -E 'Wrong setting|ERROR|FATAL|emerg|Error|Bad |# ' | tail -n 1)
    printf '%s does not start: %s (make logs)\n' "$part" "${words:-$(tail -n 1 run/docker-up.log)}"
}

tell_repairs() { said redis | sed -n 's/^data: /Redis    data: /p'; }

# The newest lines of a part, without what Compose writes for a terminal.
said() { # PART
    compose --profile monitoring logs --no-color --no-log-prefix --tail 50 "$1" 2>/dev/null | sed "s/$(printf '\033')\[[0-9;]*[A-Za-z]//g"
}
