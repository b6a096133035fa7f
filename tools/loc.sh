#!/bin/sh
# Lines of src/ by module: files, all lines, lines that hold only comment, blank ones; then the rest.
cd "$(dirname "$0")/.." || exit 2
count() { # label dir
    [ -d "$2" ] || return 0
    # shellcheck disable=SC2046  # the names are ours
    set -- "$1" $(find "$2" \( -name '*.[ch]' -o -name '*.sql' \) | sort)
    label=$1
    shift
    [ $# -gt 0 ] || return 0
    awk -v label="$label" -v files=$# '
        { lines++ }
        /^[ \t]*$/ { blank++; next }
        inside { comment++; if (/\*\//) inside = 0; next }
        /^[ \t]*\/\// { comment++; next }
        /^[ \t]*\/\*/ { comment++; if (!/\*\//) inside = 1 }
        END { printf "%-16s %5d %7d %8d %6d %5.0f %%\n", label, files, lines, comment, blank,
                     100 * comment / lines }' "$@"
}
printf '%-16s %5s %7s %8s %6s %7s\n' module files lines comment blank comment
for dir in src/*/; do
    count "${dir%/}" "$dir"
done
for dir in src include programs tests bench examples fuzz; do
    count "$dir (all)" $dir
done
