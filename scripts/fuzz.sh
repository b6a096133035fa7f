#!/bin/bash
# Builds the libFuzzer targets with clang 14, ASan and UBSan, and runs each for SECONDS_EACH (60)
# seconds. The corpus kept in fuzz/corpus/X/ is only read; what a run finds new goes to
# build/fuzz/corpus/X/, crashes to build/fuzz/crashes/. usage: scripts/fuzz.sh [target...]
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
scripts/deps.sh test || exit 1
mkdir -p build
{ cmake --preset fuzz && cmake --build --preset fuzz -j "${JOBS:-2}"; } >build/fuzz.log 2>&1 ||
    { tail -n 40 build/fuzz.log; exit 1; }
seconds=${SECONDS_EACH:-60}
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for source in fuzz/fuzz_*.c; do
        targets+=("$(basename "$source" .c)")
    done
fi
mkdir -p build/fuzz/crashes
bad=0
for target in "${targets[@]}"; do
    name=${target#fuzz_}
    found=build/fuzz/corpus/$name
    mkdir -p "$found"
    log=build/fuzz/$target.log
    dictionary=()
    [ -f "fuzz/$name.dict" ] && dictionary=("-dict=fuzz/$name.dict")
    kept=()
    [ -d "fuzz/corpus/$name" ] && kept=("fuzz/corpus/$name")
    if scripts/no-aslr.sh "build/fuzz/$target" "$found" "${kept[@]}" "${dictionary[@]}" \
        -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -max_len=65536 -print_final_stats=1 \
        -artifact_prefix="build/fuzz/crashes/$target-" >"$log" 2>&1; then
        runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
        cover=$(grep -oE 'cov: [0-9]+' "$log" | tail -n 1)
        printf 'ok   %-24s %12s runs  %s  %s inputs\n' "$target" "$runs" "$cover" \
            "$(find "$found" -type f | wc -l)"
    else
        printf 'FAIL %-24s see %s and build/fuzz/crashes/\n' "$target" "$log"
        grep -m 5 -E 'ERROR|SUMMARY|runtime error' "$log"
        bad=1
    fi
done
exit $bad
