#!/bin/sh
# Every header compiles alone, so that it includes what it uses and can be included first; the public
# one also as C++. usage: headers.sh [dir...]   (CC chooses the compiler)
set -u
cd "$(dirname "$0")/.." || exit 2
[ $# -gt 0 ] || set -- include src programs tests bench
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
flags="-std=c17 -D_GNU_SOURCE -Wall -Wextra -Werror"
bad=0
for dir in "$@"; do
    [ -d "$dir" ] || continue
    for header in $(find "$dir" -name '*.h' | sort); do
        # shellcheck disable=SC2086  # the flags are words
        if ! printf '#include "%s"\n' "$PWD/$header" |
            ${CC:-gcc} $flags -Iinclude -Isrc -Itests -fsyntax-only -x c - 2>"$out"; then
            echo "$header: does not compile alone"
            head -n 3 "$out"
            bad=1
        fi
    done
done
for cxx in clang++-14 clang-14 g++; do
    command -v $cxx >/dev/null || continue
    printf '#include "u2i.h"\nint main() { return u2i_close(nullptr); }\n' |
        $cxx -x c++ -std=c++11 -Wall -Wextra -Wpedantic -Werror -Iinclude -fsyntax-only - 2>"$out" || {
        echo "include/u2i.h: does not compile as C++"
        head -n 3 "$out"
        bad=1
    }
    break
done
exit $bad
