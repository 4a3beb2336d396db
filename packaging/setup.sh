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
    redis-server prometheus bpftrace chromium curl openssl"

installed() {
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

missing=""
for package in $packages; do
    installed "$package" || missing="$missing $package"
done
[ -x /usr/lib/qemu/virtiofsd ] || [ -x /usr/libexec/virtiofsd ] ||
    missing="$missing virtiofsd"
if [ -n "$missing" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: these Debian packages are missing:$missing" >&2
        echo "setup: run as root: make setup" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    quietly "reading Debian's package lists" apt-get update
    # Debian 13 carries virtiofsd by itself, Debian 12 inside another package.
    case $missing in *virtiofsd)
        apt-cache show virtiofsd >/dev/null 2>&1 ||
            missing="${missing%virtiofsd} qemu-system-common" ;;
    esac
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
