#!/bin/sh
# Runs the walk-through of a guide: the commands in docs/verticals/NAME.md, in a scratch folder, in which the data
# is at `examples`. A comment after a command says what its output must show: `# shows TEXT`, `# hides TEXT`.
# usage: examples/verticals/run.sh NAME [path/to/u2i]       NAME: ecommerce, content, recruitment, dating
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
name=${1:?usage: examples/verticals/run.sh NAME [path/to/u2i]}
program=$(realpath "${2:-$root/build/release/u2i}")
guide=$root/docs/verticals/$name.md
[ -x "$program" ] || { echo "there is no program $program: make release builds it"; exit 1; }
[ -f "$guide" ] || { echo "there is no guide $guide"; exit 1; }
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
mkdir bin
ln -s "$program" bin/u2i
ln -s "$root/examples" examples
PATH=$dir/bin:$PATH
touch out
awk '/^```sh$/ {on = 1; next} /^```$/ {on = 0} on' "$guide" >commands
[ -s commands ] || { echo "$guide shows no commands"; exit 1; }
while IFS= read -r line; do # a line that ends in \ goes on
    case $line in
    '') ;;
    '# shows '*)
        grep -qF -- "${line#\# shows }" out || { echo "it doesn't show: ${line#\# shows }"; exit 1; } ;;
    '# hides '*)
        ! grep -qF -- "${line#\# hides }" out || { echo "it shows: ${line#\# hides }"; exit 1; } ;;
    '#'*) printf '\n%s\n' "$line" ;;
    *)
        printf '\n$ %s\n' "$line"
        eval "$line" >out 2>&1 </dev/null || { status=$?; cat out; echo "exit status $status"; exit 1; }
        cat out ;;
    esac
done <commands
