#!/bin/sh
# How good the recommendations are (bench/quality/README.md): prepares a Python environment under build/,
# unless it is there, and runs bench/quality/run.py with the arguments given, then the two speed figures that
# belong to it. build/release/u2i, bench_recommend and bench_train have to be there (`make bench-quality` sees
# to it).
#
#   U2I_QUALITY_WORK   folder of answers and of the peers' results   (default build/quality)
#   U2I_QUALITY_VENV   the Python environment                        (default build/quality-venv)
set -eu
cd "$(dirname "$0")/.."
here=$PWD/bench/quality
work=${U2I_QUALITY_WORK:-$PWD/build/quality}
venv=${U2I_QUALITY_VENV:-$PWD/build/quality-venv}
export PYTHONDONTWRITEBYTECODE=1

# A mark in the folder says which requirements it was made from, so that a half-made one is made again.
mark=$(cksum <"$here/requirements.txt")
if [ ! -x "$venv/bin/python" ] || [ "$mark" != "$(cat "$venv/made" 2>/dev/null)" ]; then
    printf 'bench-quality: making %s\n' "$venv" >&2
    mkdir -p build
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check -r "$here/requirements.txt"
    printf '%s\n' "$mark" >"$venv/made"
fi
quick=
for argument in "$@"; do
    [ "$argument" != --quick ] || quick=--quick
done
"$venv/bin/python" "$here/run.py" --u2i build/release/u2i --work "$work" "$@"
if [ -x build/release/bench_train ]; then
    OPENBLAS_NUM_THREADS=1 "$venv/bin/python" "$here/ials_speed.py" --bench-train build/release/bench_train $quick
fi
build/release/bench_recommend $quick
