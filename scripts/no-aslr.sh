#!/bin/sh
# Runs a command without address space randomisation where that is allowed: the sanitizers of gcc 12
# and clang 14 cannot place their shadow memory on kernels with vm.mmap_rnd_bits over 28.
if setarch "$(uname -m)" -R true 2>/dev/null; then
    exec setarch "$(uname -m)" -R "$@"
fi
exec "$@"
