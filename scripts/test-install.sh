#!/bin/bash
# Installs a build into a scratch folder and uses it as a stranger would: by pkg-config shared and
# static, by the CMake package shared and static, and by the installed program.
# usage: scripts/test-install.sh build/release
set -euo pipefail
cd "$(dirname "$0")/.."
build=$PWD/${1:-build/release}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cmake --install "$build" --prefix "$dir/usr" >"$dir/install.log"
lib=$(dirname "$(find "$dir/usr" -name 'libu2i.a')")
export PKG_CONFIG_PATH=$lib/pkgconfig
cp examples/quickstart.c "$dir/"
cd "$dir"

run() { # what program: must print three recommendations
    mkdir -p run && rm -f run/*
    (cd run && LD_LIBRARY_PATH=$lib "../$2" >out) || { echo "$1: does not run"; exit 1; }
    [ -s run/out ] || { echo "$1: prints nothing"; exit 1; }
    echo "ok $1"
}

# shellcheck disable=SC2046  # the flags are words
gcc -std=c17 -Wall -Werror quickstart.c -o shared $(pkg-config --cflags --libs u2i)
run "pkg-config, shared" shared
ldd shared >ldd.out
grep -q 'libu2i.so' ldd.out || { echo "shared: not linked to libu2i.so"; exit 1; }
# shellcheck disable=SC2046
gcc -std=c17 -Wall -Werror quickstart.c -o static $(pkg-config --cflags u2i) "$lib/libu2i.a" \
    $(pkg-config --static --libs-only-l u2i | sed 's/-lu2i//')
run "pkg-config, static" static
ldd static >ldd.out
if grep -q libu2i ldd.out; then echo "static: needs libu2i.so"; exit 1; fi

cat >CMakeLists.txt <<'CMAKE'
cmake_minimum_required(VERSION 3.18)
project(stranger C)
find_package(u2i 0.1 REQUIRED)
add_executable(by_shared quickstart.c)
target_link_libraries(by_shared PRIVATE u2i::u2i)
add_executable(by_static quickstart.c)
target_link_libraries(by_static PRIVATE u2i::u2i_static)
CMAKE
cmake -S . -B b -G Ninja -DCMAKE_PREFIX_PATH="$dir/usr" >cmake.log && cmake --build b >>cmake.log ||
    { cat cmake.log; exit 1; }
run "CMake package, shared" b/by_shared
run "CMake package, static" b/by_static

if [ -x "$build/u2i" ]; then
    "$dir/usr/bin/u2i" --version
    find "$dir/usr/share" -type f | sed "s|$dir||" | sort
    [ -n "$(find "$dir/usr/share" -path '*man1/u2i.1*')" ] || { echo "no man page"; exit 1; }
    echo "ok program, man page, completions"
fi
