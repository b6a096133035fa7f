#!/bin/sh
# Runs a program in a folder of its own, which is gone afterwards: for examples that write files.
set -eu
program=$1
shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
"$program" "$@"
