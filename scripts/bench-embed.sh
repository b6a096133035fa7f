#!/bin/sh
# Text to vector beside its peers (bench/compare/README.md): prepares a Python environment under build/, unless it
# is there, and runs bench/compare/embed.py with the arguments given. build/release/u2i, bench_embed, bench_gemm and
# bench_tokenizer have to be there (`make bench-embed` sees to it). The environment takes 6 GB and two minutes, nearly all
# of it PyTorch.
#
#   U2I_BENCH_EMBED_WORK   folder of texts, ONNX files, packed weights   (default build/bench-embed; 5 GB with BERT-large)
#   U2I_BENCH_EMBED_VENV   the Python environment                        (default build/bench-embed-venv)
#   LLAMA=1                llama.cpp too: builds its PyPI package, which takes minutes (needs g++)
set -eu
cd "$(dirname "$0")/.."
here=$PWD/bench/compare
work=${U2I_BENCH_EMBED_WORK:-$PWD/build/bench-embed}
venv=${U2I_BENCH_EMBED_VENV:-$PWD/build/bench-embed-venv}
export PYTHONDONTWRITEBYTECODE=1

# A mark in the folder says which requirements it was made from, so that a half-made one is made again.
mark=$(cksum <"$here/requirements-embed.txt")
if [ ! -x "$venv/bin/python" ] || [ "$mark" != "$(cat "$venv/made" 2>/dev/null)" ]; then
    printf 'bench-embed: making %s\n' "$venv" >&2
    mkdir -p build
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements-embed.txt"
    printf '%s\n' "$mark" >"$venv/made"
fi
llama=
if [ -n "${LLAMA:-}" ]; then
    llama=--llama
    scripts/bench-embed-llama.sh "$venv" "$work"
fi
exec "$venv/bin/python" "$here/embed.py" --work "$work" $llama "$@"
