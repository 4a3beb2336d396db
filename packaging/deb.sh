#!/bin/sh
# Build forktrace's Debian packages, in dist/: for Debian 13 and later, and for Debian 12.
#
# Each is built in a temporary folder, from the tracked files as they are here. The date is
# the last commit's, so that who builds the same commit again gets the same package.
set -eu
umask 022
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
version=$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml)
committed=$(git log -1 --format=%ct)

quietly() {
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "deb: failed: $*" >&2
        exit 1
    }
}

# build DISTRIBUTION VERSION
build() {
    tree=$work/$1/forktrace
    mkdir -p "$tree"
    git ls-files -z -- . ':!.ci' ':!tests' | xargs -0 cp --parents -t "$tree"
    mv "$tree/packaging/debian" "$tree/debian"
    quietly .venv/bin/python -m pip install --disable-pip-version-check --no-compile \
        --no-deps --require-hashes -r "$tree/debian/carried.txt" -t "$tree/debian/carried"
    rm -r "$tree/debian/carried/bin" "$tree"/debian/carried/*.dist-info
    cat >"$tree/debian/changelog" <<EOF
forktrace ($2) $1; urgency=medium

  * See CHANGELOG.md.

 -- The forktrace maintainers <maintainers@forktrace.invalid>  $(date -uRd "@$committed")
EOF
    find "$tree" -exec touch -hd "@$committed" {} +
    quietly env -C "$tree" dpkg-buildpackage -b -us -uc
    package=forktrace_$2_all.deb
    quietly lintian --fail-on error,warning "$work/$1/$package"
    mkdir -p dist
    mv "$work/$1/$package" dist/
    echo "dist/$package"
}

build unstable "$version"
build bookworm "$version~deb12"
