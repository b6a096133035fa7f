#!/bin/sh
# All checks of the sources, one line each: `ok NAME` or `FAIL NAME` with what is wrong below it.
# usage: tools/check.sh [libu2i.so]   (default: the newest one without a sanitizer under build/)
# The last line counts them; exit status 1 if any failed.
set -u
cd "$(dirname "$0")/.." || exit 2
lib=${1:-}
if [ -z "$lib" ]; then
    # shellcheck disable=SC2012  # the names are ours
    lib=$(ls -t build/release/libu2i.so build/clang/libu2i.so 2>/dev/null | head -n 1)
fi
lizard=build/venv/bin/lizard
[ -x $lizard ] || lizard=lizard
out=$(mktemp) || exit 2
trap 'rm -f "$out"' EXIT
passed=0
failed=0

check() { # name command...
    name=$1
    shift
    if "$@" >"$out" 2>&1; then
        printf 'ok   %s\n' "$name"
        passed=$((passed + 1))
    else
        printf 'FAIL %s\n' "$name"
        sed 's/^/     /' "$out" | head -n 40
        failed=$((failed + 1))
    fi
}

format_check() {
    # shellcheck disable=SC2046  # the names are ours
    clang-format-14 --dry-run -Werror $(find $(ls -d include src programs tests bench examples fuzz \
        2>/dev/null) -name '*.[ch]')
}

exports_check() {
    if [ -z "$lib" ]; then
        echo "no libu2i.so: build it first (make release)"
        return 1
    fi
    tools/exports.sh "$lib" include/u2i.h
}

check "layers: includes point down" python3 tools/layers.py src tools/layers.txt
check "headers: each compiles alone" tools/headers.sh
check "exports: what the header declares" exports_check
rules=$(python3 tools/source_rules.py --list) || exit 2
while IFS="$(printf '\t')" read -r rule text; do
    check "$rule: $text" python3 tools/source_rules.py "$rule"
done <<RULES
$rules
RULES
check "functions: length, complexity, parameters, names" python3 tools/function_limits.py $lizard
check "readme: its program and links are right" python3 tools/readme.py
check "format: as clang-format-14 has it" format_check
printf 'tools/check.sh: %d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
