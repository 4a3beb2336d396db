#!/bin/sh
# Make a checkout ready: Debian packages, a virtual environment.
#
#     packaging/setup.sh run|test|pictures|deb
#
# run: what forktrace needs, and the virtual machine that it runs in where the host cannot
# be traced. test: what tests, measurements and the stack need as well. pictures: what
# `make pictures` needs beyond that. deb: what builds the Debian packages, and no more.
#
# Installs what is missing and nothing else; no service is started. The interpreter is
# the system's, because python3-bpfcc belongs to it.
set -eu
cd "$(dirname "$0")/.."

log=$(mktemp)
no_cluster=/etc/postgresql-common/createcluster.d/forktrace-setup.conf
trap 'rm -f "$log" $no_cluster' EXIT

quietly() {
    echo "setup: $1" >&2
    shift
    "$@" >"$log" 2>&1 || {
        cat "$log" >&2
        echo "setup: failed: $*" >&2
        exit 1
    }
}

purpose=${1:?run, test, pictures or deb}
packages="python3 python3-venv python3-bpfcc
    qemu-system-x86 busybox-static cpio kmod xz-utils zstd redis-server"
extras=""
proves=""
case $purpose in test | pictures) proves=yes ;; esac
if [ "$purpose" = deb ]; then
    packages="python3 python3-venv build-essential debhelper dh-python lintian
        python3-click python3-shellingham python3-typing-extensions"
elif [ "$proves" ]; then
    packages="$packages prometheus bpftrace chromium curl openssl tmux man-db
        postgresql nginx python3-numpy qemu-system-arm buildah mmdebstrap crun podman"
    extras="[dev]"
fi

installed() {
    dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null | grep -qx installed
}

# The decoder is tried on what compilers make: on those of these that this Debian has.
compilers() {
    [ "$proves" ] || return 0
    known=""
    for package in gcc-11 gcc-12 clang-14 clang-19; do
        apt-cache show "$package" >/dev/null 2>&1 || continue
        known="$known $package"
        installed "$package" || printf ' %s' "$package"
    done
    case $known in *clang*) ;; *) installed clang || printf ' clang' ;; esac
}

missing=""
for package in $packages; do
    installed "$package" || missing="$missing $package"
done
if [ "$purpose" != deb ]; then
    # Its package has another name in each Debian.
    ls /usr/lib/*/libdw.so.1 >/dev/null 2>&1 || missing="$missing libdw1"
    [ -x /usr/lib/qemu/virtiofsd ] || [ -x /usr/libexec/virtiofsd ] ||
        missing="$missing virtiofsd"
fi
# Any Java, any C compiler and any npm will do.
if [ "$proves" ]; then
    command -v java >/dev/null || missing=" default-jre-headless$missing"
    command -v cc >/dev/null || missing=" gcc libc6-dev$missing"
fi
[ "$purpose" != pictures ] || command -v npm >/dev/null || missing=" npm$missing"
if [ -n "$missing$(compilers)" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "setup: these Debian packages are missing:$missing$(compilers)" >&2
        echo "setup: run as root: packaging/setup.sh $purpose" >&2
        exit 1
    fi
    export DEBIAN_FRONTEND=noninteractive
    quietly "reading Debian's package lists" apt-get update
    missing="$(compilers)$missing"
    # Debian 13 carries virtiofsd by itself, Debian 12 inside another package.
    case $missing in *virtiofsd)
        apt-cache show virtiofsd >/dev/null 2>&1 ||
            missing="${missing%virtiofsd} qemu-system-common" ;;
    esac
    # Nor does PostgreSQL get a cluster, which would start with the machine.
    case $missing in *postgresql*)
        mkdir -p "${no_cluster%/*}"
        echo "create_main_cluster = off" >$no_cluster ;;
    esac
    # RUNLEVEL=1 keeps the packages' services from starting.
    # shellcheck disable=SC2086
    quietly "installing$missing" \
        env RUNLEVEL=1 apt-get install -y --no-install-recommends $missing
fi

[ -x .venv/bin/python ] ||
    quietly "making a virtual environment" \
        /usr/bin/python3 -m venv --system-site-packages .venv
quietly "installing forktrace for $purpose" \
    .venv/bin/python -m pip install --disable-pip-version-check -e ".$extras"
touch ".venv/ready-$purpose"
