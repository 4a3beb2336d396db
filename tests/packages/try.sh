#!/bin/sh
# Install what `make deb` built in a fresh root of each release, as root: tests/packages/try.sh
#
# The roots are temporary folders, and nothing in them is started (trial.sh says what is).
set -eu
cd "$(dirname "$0")/../.."
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
settings=$(mktemp)
trap 'rm -f "$settings"' EXIT
# How the machine reaches its mirror.
apt-config dump | grep ^Acquire:: >"$settings"

# in_release CODENAME VERSION
in_release() {
    echo "$1: forktrace $2"
    mmdebstrap --quiet --format=null --variant=minbase --include=man-db \
        --aptopt="$settings" --customize-hook="copy-in tests/packages/trial.sh /root" \
        --customize-hook="upload 'dist/forktrace_$2_all.deb' /root/forktrace.deb" \
        --customize-hook='chroot "$1" sh /root/trial.sh' "$1" /dev/null
}

in_release bookworm "$version~deb12"
in_release trixie "$version"
