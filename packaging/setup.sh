#!/bin/sh
# Make a checkout ready to run and to test: Debian packages, a virtual environment.
#
# Installs what is missing and nothing else; no service is started. The interpreter is
# the system's, because python3-bpfcc belongs to it.
set -eu
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

quietly() {
    echo "setup: $1" >&2
    shift
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "setup: failed: $*" >&2
        exit 1
    }
}

# What forktrace needs, then what its virtual machine, demo and tests need.
packages="python3 python3-venv python3-bpfcc
    qemu-system-x86 busybox-static cpio kmod xz-utils zstd
    redis-server prometheus bpftrace curl openssl"
# Debian 12 carries virtiofsd inside qemu-system-common, Debian 13 by itself.
[ -x /usr/lib/qemu/virtiofsd ] || [ -x /usr/libexec/virtiofsd ] || {
    if apt-cache show virtiofsd >/dev/null 2>&1; then
        packages="$packages virtiofsd"
    else
        packages="$packages qemu-system-common"
    fi
}

missing=""
for package in $packages; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null |
        grep -qx installed || missing="$missing $package"
done
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: these Debian packages are missing:$missing" >&2
        echo "setup: run as root: apt-get install --no-install-recommends$missing" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    quietly "reading Debian's package lists" apt-get update
    # RUNLEVEL=1 keeps the packages' services from starting.
    # shellcheck disable=SC2086
    quietly "installing$missing" \
        env RUNLEVEL=1 apt-get install -y --no-install-recommends $missing
fi

[ -x .venv/bin/python ] ||
    quietly "making a virtual environment" \
        /usr/bin/python3 -m venv --system-site-packages .venv
quietly "installing forktrace and what tests it" \
    .venv/bin/python -m pip install --disable-pip-version-check -e '.[dev]'
touch .venv/ready
