#!/bin/sh
# The stack as a service of systemd: service.sh system | user | remove | print system | print user
# It starts at boot, without waiting for a network, and again when its supervisor dies.
set -eu
cd "$(dirname "$0")/.."
root=$(pwd)

die() { echo "$*" >&2; exit 1; }

# A % means something to systemd.
path=$(echo "$root" | sed 's/%/%%/g')

unit() { # system | user
    mode=$(sh deploy/chat.sh mode) mode=${mode%%:*}
    cat <<END
[Unit]
Description=FastAPI Agent Chat in $path
Documentation=file:$(echo "$path" | sed 's/ /%%20/g')/docs/operating.md
After=network.target$([ $mode = native ] || echo " docker.service")
$([ $mode = native ] || [ "$1" = user ] || echo Wants=docker.service)
StartLimitIntervalSec=0

[Service]
WorkingDirectory=$path
Environment=MODE=$mode
$([ "$1" = user ] || echo "User=$(stat -c %U .)")
ExecStart=/bin/sh deploy/chat.sh start
ExecReload=/bin/sh deploy/chat.sh restart
ExecStop=/bin/sh deploy/chat.sh stop
TimeoutStartSec=900
TimeoutStopSec=180
$(kind)
[Install]
WantedBy=$([ "$1" = user ] && echo default.target || echo multi-user.target)
END
}

kind() {
    if [ $mode = docker ]; then # Docker itself restarts what dies
        printf 'Type=oneshot\nRemainAfterExit=yes\n'
    else
        printf 'Type=forking\nPIDFile=%s/run/supervisord.pid\nKillMode=mixed\nRestart=on-failure\nRestartSec=10\n' "$path"
    fi
}

folder() { [ "$1" = user ] && echo "${XDG_CONFIG_HOME:-$HOME/.config}/systemd/user" || echo /etc/systemd/system; }

# Ours, also where another checkout has taken the plain name.
name() { # FOLDER
    file=fastapi-agent-chat.service
    if [ -e "$1/$file" ] && ! grep -qxF "WorkingDirectory=$path" "$1/$file"; then
        file=fastapi-agent-chat-$(echo "$root" | cksum | cut -d ' ' -f 1).service
    fi
    echo "$file"
}

systemd_runs() { [ -d /run/systemd/system ] || die "systemd does not run here"; }

install_unit() { # system | user
    systemd_runs
    [ "$1" = user ] || [ "$(id -u)" = 0 ] || die "This needs root: sudo make service (or, for you alone, make service-user)"
    [ "$1" = system ] || [ "$(id -u)" != 0 ] || die "You are root: make service"
    into=$(folder "$1") file=$(name "$(folder "$1")")
    grep -q '"from the shell"' run/given.json run/docker-given.json 2>/dev/null &&
        echo "The running stack has settings from the shell; a service reads .env only: put them there"
    # what runs now was not started by systemd, which could not watch it
    run_as_owner "$1" stop >/dev/null 2>&1 || true
    mkdir -p "$into"
    unit "$1" >"$into/$file"
    systemctl $(scope "$1") daemon-reload
    systemctl $(scope "$1") enable -q "$file"
    systemctl $(scope "$1") restart "$file" || die "It does not start: journalctl$(scope "$1") -u $file -n 20"
    [ "$1" = system ] || lingers || loginctl enable-linger "$(id -un)" 2>/dev/null || echo "It starts when you log in; at boot with: sudo loginctl enable-linger $(id -un)"
    echo "Installed: $into/$file (systemctl$(scope "$1") status $file; make service-remove)"
}

scope() { [ "$1" = system ] || echo ' --user'; }

lingers() { [ "$(loginctl show-user -P Linger "$(id -un)" 2>/dev/null)" = yes ]; }

run_as_owner() { # system | user, VERB
    owner=$(stat -c %U .)
    if [ "$1" = user ] || [ "$owner" = "$(id -un)" ]; then
        sh deploy/chat.sh "$2"
    else
        runuser -u "$owner" -- sh deploy/chat.sh "$2"
    fi
}

remove() {
    found=
    for where in system user; do
        into=$(folder $where)
        for file in "$into"/fastapi-agent-chat*.service; do
            grep -qxF "WorkingDirectory=$path" "$file" 2>/dev/null || continue
            found=yes
            [ $where = user ] || [ "$(id -u)" = 0 ] || die "This needs root: sudo make service-remove"
            systemctl $(scope $where) disable -q --now "${file##*/}" 2>/dev/null || true
            rm "$file"
            systemctl $(scope $where) daemon-reload 2>/dev/null || true
            echo "Removed: $file"
        done
    done
    [ -n "$found" ] || echo "There is no service of this folder"
}

case $1 in
system | user) install_unit "$1" ;;
remove) remove ;;
print) unit "$2" ;;
esac
