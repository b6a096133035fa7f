#!/bin/bash
# Everything that has to hold, with a summary at the end; the last line counts the tests and checks.
#   1. what is missing is installed (scripts/deps.sh)
#   2. the library and the program with clang 14 and with gcc 12 at -O3, warnings being errors
#   3. all tests under AddressSanitizer and UndefinedBehaviorSanitizer
#   4. the tests that start threads under ThreadSanitizer
#   5. the NEON kernels under qemu, on x86-64
#   6. the checks of the sources (tools/check.sh), and an installation that others can build with
# JOBS=N limits parallelism. Logs are kept in build/test/.
set -u
cd "$(dirname "$0")/.." || exit 2
jobs=${JOBS:-$(nproc)}
logs=build/test
mkdir -p $logs
passed=0
failed=0
summary=""
begin=$SECONDS

note() { # ok|FAIL|skip name detail
    summary+=$(printf '%-5s %-44s %s' "$1" "$2" "$3")$'\n'
}

# One step that passes or fails as a whole: step NAME LOG command...
step() {
    local name=$1 log=$logs/$2 start=$SECONDS
    shift 2
    printf -- '-- %s\n' "$name"
    if "$@" >"$log" 2>&1; then
        passed=$((passed + 1))
        note ok "$name" "$((SECONDS - start)) s"
        return 0
    fi
    failed=$((failed + 1))
    note FAIL "$name" "see $log"
    grep -vE '^\[[0-9]+/[0-9]+\] (Building|Linking|Generating)' "$log" | tail -n 60
    return 1
}

build() { # preset [target...]
    local preset=$1
    shift
    cmake --preset "$preset" && cmake --build --preset "$preset" -j "$jobs" ${1:+--target "$@"}
}

# The tests of one preset, counted one by one: run_tests NAME PRESET [ctest arguments...]
run_tests() {
    local name=$1 preset=$2 log=$logs/$2.tests.log start=$SECONDS
    shift 2
    printf -- '-- %s\n' "$name"
    scripts/no-aslr.sh ctest --preset "$preset" -j "$jobs" "$@" 2>&1 | tee "$log" |
        grep --line-buffered -E '^ *[0-9]+/[0-9]+ Test|\[  FAILED|^[^ ]*ERROR: |U2I_SEED=|: error: |WARNING: ThreadSanitizer|Errors while'
    local line good bad
    line=$(grep -E '^[0-9]+% tests passed' "$log")
    bad=$(sed -E 's/.*, ([0-9]+) tests failed.*/\1/' <<<"$line")
    good=$(sed -E 's/.* out of ([0-9]+).*/\1/' <<<"$line")
    if [ -z "$line" ]; then
        failed=$((failed + 1))
        note FAIL "$name" "no tests were run, see $log"
        return
    fi
    passed=$((passed + good - bad))
    failed=$((failed + bad))
    if [ "$bad" -gt 0 ]; then
        note FAIL "$name" "$bad of $good failed, see $log"
        sed -n '/The following tests FAILED/,$p' "$log"
    else
        note ok "$name" "$good tests, $((SECONDS - start)) s"
    fi
}

run_checks() {
    local log=$logs/checks.log line
    printf -- '-- checks of the sources\n'
    tools/check.sh build/clang/libu2i.so 2>&1 | tee "$log"
    line=$(tail -n 1 "$log")
    local good bad
    good=$(sed -E 's/.*: ([0-9]+) passed.*/\1/' <<<"$line")
    bad=$(sed -E 's/.*, ([0-9]+) failed.*/\1/' <<<"$line")
    passed=$((passed + good))
    failed=$((failed + bad))
    note "$([ "$bad" -eq 0 ] && echo ok || echo FAIL)" "checks of the sources" "$good of $((good + bad))"
}

scripts/deps.sh test || exit 1
step "build with clang 14, warnings are errors" clang.log build clang
step "build with gcc at -O3, warnings are errors" release.log build release
if step "build for ASan and UBSan" asan.log build asan; then
    run_tests "tests under ASan and UBSan" asan
fi
if step "build for TSan" tsan.log build tsan thread_tests; then
    run_tests "tests with threads under TSan" tsan
fi
if [ -x tools/qemu-neon.sh ] && [ "$(uname -m)" = x86_64 ]; then
    step "NEON kernels under qemu" neon.log tools/qemu-neon.sh
fi
step "an installation others can build with" install.log scripts/test-install.sh build/release
run_checks

printf '\n%s' "$summary"
printf 'took %d min %02d s; logs in %s/\n' $(((SECONDS - begin) / 60)) $(((SECONDS - begin) % 60)) $logs
printf '%d passed, %d failed\n' $passed $failed
[ $failed -eq 0 ]
