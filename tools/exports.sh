#!/bin/sh
# The shared library exports the functions that its public header declares, all of them and nothing
# else. usage: exports.sh libu2i.so [include/u2i.h]
set -u
lib=${1:?usage: exports.sh libu2i.so [include/u2i.h]}
header=${2:-$(dirname "$0")/../include/u2i.h}
dir=$(mktemp -d) || exit 2
trap 'rm -rf "$dir"' EXIT
nm -D --defined-only "$lib" | awk '{print $3}' | sed 's/@.*//' | sort -u >"$dir/have"
grep -A1 '^U2I_API' "$header" | grep -oE '\bu2i_[a-z_0-9]+\(' | tr -d '(' | sort -u >"$dir/want"
if ! [ -s "$dir/want" ]; then
    echo "$header: no U2I_API function found"
    exit 1
fi
comm -23 "$dir/have" "$dir/want" | sed 's/^/exported but not public: /'
comm -13 "$dir/have" "$dir/want" | sed 's/^/declared but not exported: /'
cmp -s "$dir/have" "$dir/want"
