#!/bin/sh
# Installs what u2i needs to be built (`build`), and also what its tests and checks need (`test`, the
# default), or the comparisons with others (`bench`), with apt on Debian 12. Says what it does;
# where all is there it does nothing, quickly and without the network. `list` only prints the packages.
#
# usage: scripts/deps.sh [build|test|bench|list]
set -eu
cd "$(dirname "$0")/.."
mode=${1:-test}

build="gcc libc6-dev cmake ninja-build pkg-config
    libsqlite3-dev libroaring-dev libjansson-dev libutf8proc-dev zlib1g-dev libopenblas-pthread-dev
    libcurl4-openssl-dev libssl-dev"
test="binutils clang-14 libclang-rt-14-dev clang-format-14 libcmocka-dev
    python3 python3-venv e2fsprogs mount util-linux procps bash-completion"
bench="g++ python3-dev python3-venv"
# The NEON kernels are tested on other machines too, under qemu.
if [ "$(uname -m)" = x86_64 ]; then
    test="$test qemu-user gcc-aarch64-linux-gnu libc6-dev-arm64-cross"
fi
# Not in Debian: the function limits of tools/check.sh, from PyPI into build/venv.
lizard=1.24.3
venv_python=/usr/bin/python3

case $mode in
build) packages=$build ;;
test) packages="$build $test" ;;
bench) packages="$build $bench" ;;
list)
    printf 'to build:'; printf ' %s' $build
    printf '\nto test: '; printf ' %s' $test
    printf '\nto bench:'; printf ' %s' $bench
    printf '\nfrom PyPI, into build/venv: lizard==%s\n' $lizard
    exit 0
    ;;
-h | --help | *)
    sed -n '2,6s/^# \{0,1\}//p' "$0"
    case $mode in -h | --help) exit 0 ;; *) exit 2 ;; esac
    ;;
esac

stop() {
    printf 'deps: %s\n' "$1" >&2
    printf 'deps: u2i is built on Debian 12 with these packages:' >&2
    printf ' %s' $packages >&2
    printf '\ndeps: install their counterparts by hand, then use cmake as CONTRIBUTING.md says.\n' >&2
    exit 1
}

missing_packages() {
    for package in $packages; do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) || status=none
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo "$@"
    else
        stop "packages are missing ($missing), and this is neither root nor is there sudo"
    fi
}

install_packages() {
    printf 'deps: installing with apt:'; printf ' %s' $missing; printf '\n'
    export DEBIAN_FRONTEND=noninteractive
    log=$(mktemp)
    # shellcheck disable=SC2086  # the packages are words
    if ! { as_root apt-get update -qq && as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        rm -f "$log"
        stop "apt could not install: $missing"
    fi
    rm -f "$log"
}

install_lizard() {
    stamp=build/venv/lizard-$lizard
    [ -e $stamp ] && return
    echo "deps: installing lizard $lizard from PyPI into build/venv"
    rm -rf build/venv
    mkdir -p build
    $venv_python -m venv build/venv
    if ! build/venv/bin/pip install -q --disable-pip-version-check lizard==$lizard; then
        echo "deps: lizard could not be installed (no network?): tools/check.sh will say so" >&2
        return
    fi
    touch $stamp
}

command -v dpkg-query >/dev/null && command -v apt-get >/dev/null || stop "this system has no apt"
missing=$(missing_packages)
[ -z "$missing" ] || install_packages
[ "$mode" != test ] || install_lizard
