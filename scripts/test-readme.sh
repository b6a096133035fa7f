#!/bin/sh
# Runs the commands that the README shows, in a scratch folder: each must succeed.
# usage: scripts/test-readme.sh path/to/u2i
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
program=$(realpath "${1:?usage: scripts/test-readme.sh path/to/u2i}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir bin
ln -s "$program" bin/u2i
ln -s "$root/data" data
PATH=$dir/bin:$PATH
python3 "$root/tools/readme.py" --shell >commands
[ -s commands ] || { echo "README.md shows no commands"; exit 1; }
while read -r line; do
    echo "\$ $line"
    eval "$line" >out 2>&1 || { echo "exit status $?"; cat out; exit 1; }
    head -n 12 out
done <commands
