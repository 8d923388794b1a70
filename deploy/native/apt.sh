#!/bin/sh
# Installs Debian packages as root without letting their services start: apt.sh PACKAGE...
# Ours run under our own supervisor, on our own ports.
set -eu
policy=/usr/sbin/policy-rc.d
if [ ! -e $policy ]; then
    trap 'rm -f $policy' EXIT
    printf '#!/bin/sh\nexit 101\n' >$policy
    chmod 755 $policy
fi
export DEBIAN_FRONTEND=noninteractive
{ apt-get -qq update && apt-get -qq -o=Dpkg::Use-Pty=0 install -y --no-install-recommends "$@"; } >/dev/null
if command -v systemctl >/dev/null; then
    for package; do
        systemctl disable -q "${package%-light}.service" 2>/dev/null || true
    done
fi
