#!/bin/sh
# Runs the kernels' checks (tests/unit/vec_checks.h, gemm_checks.h) on AArch64: cross-compiled,
# statically linked, under an emulator. Exits 0 with a message where the tools are missing
# (Debian: gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user).
set -eu
cd "$(dirname "$0")/.."

cc=${CROSS_CC:-aarch64-linux-gnu-gcc}
qemu=$(command -v qemu-aarch64 || command -v qemu-aarch64-static || true)
if ! command -v "$cc" >/dev/null || [ -z "$qemu" ]; then
    echo "qemu-neon: skipped, needs $cc and qemu-aarch64"
    exit 0
fi

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/main.c" <<'C'
#include "unit/gemm_checks.h"
#include "unit/vec_checks.h"

int main(void) {
    int failed = vec_named("neon") == NULL || gemm_named("neon") == NULL;
    for (size_t i = 0; i < sizeof vec_checks / sizeof *vec_checks; i++) {
        failed += vec_check_tables(&vec_checks[i]);
    }
    for (size_t i = 0; i < sizeof gemm_checks / sizeof *gemm_checks; i++) {
        failed += gemm_check_tables(&gemm_checks[i]);
    }
    printf("chosen: %s\n", vec_get()->name);
    return failed != 0;
}
C

"$cc" -std=c17 -D_GNU_SOURCE -O2 -Wall -Wextra -Wpedantic -Werror -ffp-contract=off -static \
    -Iinclude -Isrc -Itests "$work/main.c" src/vec/*.c \
    src/base/alloc.c src/base/rng.c src/base/hash.c -lm -o "$work/neon"
"$qemu" -cpu max "$work/neon"
"$qemu" -cpu cortex-a53 "$work/neon" # without SDOT
echo "qemu-neon: passed"
