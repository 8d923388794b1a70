#!/bin/sh
# Makes .venv from uv.lock on a machine where nothing is prepared: setup.sh [run|dev]
# run: what the service needs; dev: the tests' packages and programs as well.
set -eu
cd "$(dirname "$0")/../.."
want=${1:-run}

die() { echo "$*" >&2; exit 1; }
apt() { DEBIAN_FRONTEND=noninteractive apt-get -qq -o=Dpkg::Use-Pty=0 "$@" >/dev/null; }
can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

find_python() {
    for name in python3.13 python3.12 python3.11 python3.14 python3; do
        "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        command -v "$name"
        return
    done
    return 1
}

install_python() {
    can_apt || return 1
    echo "Installing Python with apt"
    { apt update && apt install -y --no-install-recommends python3 python3-venv; } || return 1
}

# uv lives in a folder of its own: systems like Debian 12 refuse pip outside a virtual environment (PEP 668).
install_uv() {
    echo "Installing uv into .venv-tools"
    rm -rf .venv-tools
    if ! "$python" -c 'import ensurepip' 2>/dev/null && can_apt; then
        { apt update && apt install -y --no-install-recommends python3-venv; } || true
    fi
    if "$python" -m venv .venv-tools >/dev/null 2>&1; then
        .venv-tools/bin/python -m pip install -q --disable-pip-version-check uv && return
    elif "$python" -m pip --version >/dev/null 2>&1; then
        rm -rf .venv-tools
        "$python" -m pip install -q --disable-pip-version-check --target .venv-tools uv && return
    else
        rm -rf .venv-tools
        die "Python cannot make a virtual environment: sudo apt install -y python3-venv"
    fi
    die "uv could not be installed from PyPI: is this machine online?"
}

install_test_programs() {
    missing=
    command -v redis-server >/dev/null || missing="$missing redis-server"
    PATH=$PATH:/usr/sbin command -v nginx >/dev/null || missing="$missing nginx-light"
    command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing="$missing chromium"
    command -v firefox-esr >/dev/null || command -v firefox >/dev/null || missing="$missing firefox-esr"
    command -v strace >/dev/null || missing="$missing strace"
    [ -n "$missing" ] || return 0
    if can_apt; then
        echo "Installing$missing with apt"
        sh deploy/native/apt.sh $missing || echo "apt could not install$missing: tests that need them are skipped"
    else
        echo "Tests that need$missing are skipped without them: sudo apt install -y$missing"
    fi
}

# Nothing to do, and nobody to ask, when .venv is what uv.lock says: so a start needs neither network nor uv.
stamp=.venv/.made
wanted="$want compiled $(cksum <uv.lock) $(cksum <pyproject.toml)"
if [ -x .venv/bin/python ] && grep -qxF "$wanted" "$stamp" 2>/dev/null && .venv/bin/python -c 'import sys' 2>/dev/null; then
    [ "$want" = run ] || install_test_programs
    exit 0
fi
# cron and systemd know a short PATH only
PATH=$PATH:${HOME:-/root}/.local/bin:$HOME/.cargo/bin:/usr/local/bin

[ "$(getconf LONG_BIT)" = 64 ] || die "A 64-bit system is needed (on a Raspberry Pi: Raspberry Pi OS, 64-bit)"
python=$(find_python) || { install_python && python=$(find_python); } ||
    die "Python 3.11 or newer is needed: sudo apt install -y python3 python3-venv"
if command -v uv >/dev/null; then
    uv=uv
else
    uv=.venv-tools/bin/uv
    [ -x "$uv" ] || install_uv
fi

if [ ! -e .venv ]; then
    echo "Making .venv from uv.lock (about a minute the first time)"
    export UV_PYTHON="$python"
fi
groups=--no-dev
[ "$want" = run ] || groups=--dev
# --inexact: a start must not take away what the tests need. Compiled here, for else each start of a backend does it
# where Python may not write (PYTHONDONTWRITEBYTECODE).
sync() { "$uv" sync -q --frozen --inexact --compile-bytecode --group native $groups; }
# The second try believes the certificates of this machine, such as those of a company's proxy.
sync 2>/dev/null || UV_SYSTEM_CERTS=1 sync || die "uv sync failed (see above)"
# dev has what run needs
{ echo "$wanted"; [ "$want" = run ] || echo "run ${wanted#* }"; } >"$stamp"
[ "$want" = run ] || install_test_programs
