#!/bin/sh
# The demo: loads 9,742 films and 100,836 ratings of real people (data/ml-latest-small) with the
# program u2i, then shows three of them what to see next. usage: examples/demo.sh [build/release [STORE]]
# MODEL=NAME (or a folder) has a BERT model make the vectors of text; u2i model get fetches one.
set -eu
cd "$(dirname "$0")/.."
build=${1:-build/release}
store=${2:-build/demo.db}
data=data/ml-latest-small
u2i=$build/u2i

say() { printf '\n\033[1m%s\033[0m\n' "$1"; }
[ -t 1 ] || say() { printf '\n%s\n' "$1"; }
run() { # shows a command, then runs it
    printf '$ %s\n' "$*"
    "$@"
}

rm -f "$store" "$store-wal" "$store-shm" "$store-index/content.hnsw" "$store-index/content.hnsw.lock"
say "1. A store is one file; films and ratings go in"
run $u2i init "$store" ${MODEL:+--model "$MODEL"}
run $u2i import "$store" items $data/items.csv.gz
run $u2i import "$store" events $data/events.csv.gz --no-value
say "2. What everybody did is learnt, and checked on what they did last"
run $u2i train "$store"
say "3. Three people: what they liked last, and what u2i recommends to them"
"$build/example_demo" "$store" 556 "fantasy and adventure" 309 "film noir and other classics" \
    388 "animation for children"
say "4. Why: the parts of a score, and the films that pulled"
run $u2i recommend "$store" 556 --limit 3 --explain
downloads="Nothing was downloaded. "
[ -z "${MODEL:-}" ] || downloads=
cat <<NEXT

${downloads}A profile is made of a user's newest events when it is asked for, so what you record counts at once.

What to try next:
  $u2i recommend $store 556 --filter 'category like "%Fantasy%"'
  $u2i similar $store --item 4306            # films like Shrek
  $u2i search $store "space robots"
  $u2i record $store me 4306 like            # be somebody yourself: you like Shrek,
  $u2i recommend $store me                   # and it counts at once
  $u2i --help                                # all commands; examples/quickstart.c shows the library
NEXT
