#!/usr/bin/env python3
"""Writes src/embed/wordpiece_tables.h, the character ranges of BERT's tokenizer.

usage: wordpiece_tables.py tables.json > src/embed/wordpiece_tables.h

tables.json has what Hugging Face's tokenizers 0.22.2 answers when it is asked about each code point:
lists of [first, last] named control, mn, punct, ws, cjk, and lower, {"0x41": "a", ...}. Two things it
does not have stand below: they were found in the same way, by asking its NFD about each code point
next to U+0334 (class 1) and U+0315 (class 232), and belong to Unicode 9, which that NFD follows."""
import json
import sys

KINDS = [("control", "DROP"), ("ws", "SPACE"), ("cjk", "CJK"), ("mn", "MARK"), ("punct", "PUNCT")]

# Characters that are kept although they are marks (the Mn of Unicode 8 does not have them), with a
# canonical combining class: [first, last, class].
ORDERED = [
    (0x8D4, 0x8E1, 230), (0x1B44, 0x1B44, 9), (0x1BAA, 0x1BAA, 9), (0x1BF2, 0x1BF3, 9),
    (0x1DFB, 0x1DFB, 230), (0x302E, 0x302F, 224), (0xA953, 0xA953, 9), (0xA9C0, 0xA9C0, 9),
    (0x111C0, 0x111C0, 9), (0x11235, 0x11235, 9), (0x1134D, 0x1134D, 9), (0x11442, 0x11442, 9),
    (0x11446, 0x11446, 7), (0x116B6, 0x116B6, 9), (0x11C3F, 0x11C3F, 9), (0x1D165, 0x1D166, 216),
    (0x1D16D, 0x1D16D, 226), (0x1D16E, 0x1D172, 216), (0x1E000, 0x1E006, 230),
    (0x1E008, 0x1E018, 230), (0x1E01B, 0x1E021, 230), (0x1E023, 0x1E024, 230),
    (0x1E026, 0x1E02A, 230), (0x1E944, 0x1E949, 230), (0x1E94A, 0x1E94A, 7)]

# Above U+FFFF, later versions of Unicode have more characters that can be decomposed.
DECOMPOSED = [
    (0x1109A, 0x1109C), (0x110AB, 0x110AB), (0x1112E, 0x1112F), (0x1134B, 0x1134C),
    (0x114BB, 0x114BE), (0x115BA, 0x115BB), (0x1D15E, 0x1D164), (0x1D1BB, 0x1D1C0),
    (0x2F800, 0x2FA1D)]

HEAD = """\
/* The character ranges of BERT's tokenizer; written by tools/wordpiece_tables.py, see there.
 *
 * Categories are those of Unicode 8.0, lower case is current, marks are ordered and characters are
 * decomposed as by Unicode 9: so does the reference, and so its vectors were made. ASCII is not in
 * wordpiece_kinds, it has a table of its own. Each list is in order and its ranges do not meet. */
#ifndef U2I_EMBED_WORDPIECE_TABLES_H
#define U2I_EMBED_WORDPIECE_TABLES_H

#include <stdint.h>

enum wordpiece_kind {
    WORDPIECE_LETTER = 0, /* whatever is none of these; it has no range */
    WORDPIECE_DROP = 1,   /* is not there at all: controls, formats, private use, U+0000, U+FFFD */
    WORDPIECE_SPACE = 2,
    WORDPIECE_CJK = 3,   /* a word alone */
    WORDPIECE_MARK = 4,  /* nonspacing: dropped with lower case */
    WORDPIECE_PUNCT = 5, /* a word alone */
};

/* What `value` means is said at each list; it holds for first, first + step, ... last. */
struct wordpiece_range {
    uint32_t first, last;
    int32_t value, step;
};
"""


def merge(rows):
    """Neighbours of one value become one range."""
    out = []
    for first, last, value in sorted(rows):
        if out and out[-1][2] == value and out[-1][1] + 1 == first:
            out[-1] = (out[-1][0], last, value)
        else:
            assert not out or out[-1][1] < first, "ranges meet"
            out.append((first, last, value))
    return [(*row, 1) for row in out]


def kind_at(tables, c):
    for name, kind in KINDS:
        if any(first <= c <= last for first, last in tables[name]):
            return kind
    return "DROP" if c == 0 else "SPACE" if c == 0x20 else "LETTER"


def kinds(tables):
    numbers = {kind: number for number, (_, kind) in enumerate(KINDS, 1)}
    return merge((max(first, 0x80), last, numbers[kind]) for name, kind in KINDS
                 for first, last in tables[name] if last >= 0x80)


def lower(tables):
    """Ranges of one difference, with steps of 1 or of 2 (where both cases take turns)."""
    pairs = []
    for key, value in sorted(tables["lower"].items(), key=lambda kv: int(kv[0], 16)):
        c = int(key, 16)
        if c == 0x130:  # the only one that becomes two; NFD has taken it apart before
            continue
        assert len(value) == 1, key
        if c >= 0x80:
            pairs.append((c, ord(value) - c))
    out = []
    for c, delta in pairs:
        first, last, value, step = out[-1] if out else (0, 0, 0, 1)
        gap = c - last
        if value == delta and gap in (1, 2) and (first == last or gap == step):
            out[-1] = (first, c, value, gap)
        else:
            out.append((c, c, delta, 1))
    return out


def table(comment, name, rows):
    lines = [comment, f"static const struct wordpiece_range {name}[] = {{"]
    line = "   "
    for first, last, value, step in rows:
        cell = f" {{0x{first:x}, 0x{last:x}, {value}, {step}}},"
        if len(line) + len(cell) > 100:
            lines.append(line)
            line = "   "
        line += cell
    return "\n".join([*lines, line, "};", ""])


def ascii_table(tables):
    numbers = {kind: number for number, (_, kind) in enumerate(KINDS, 1)} | {"LETTER": 0}
    lines = ["/* enum wordpiece_kind of ASCII. */",
             "static const uint8_t wordpiece_ascii[128] = {"]
    for row in range(0, 128, 32):
        lines.append("    " + " ".join(f"{numbers[kind_at(tables, c)]},"
                                       for c in range(row, row + 32)))
    return "\n".join([*lines, "};", ""])


def main():
    with open(sys.argv[1], encoding="utf-8") as f:
        tables = json.load(f)
    print(HEAD)
    print("/* Rows as the script writes them. */\n/* clang-format off */")
    print(ascii_table(tables))
    print(table("/* value: enum wordpiece_kind. */", "wordpiece_kinds", kinds(tables)))
    print(table("/* value: what is added for lower case. */", "wordpiece_lower", lower(tables)))
    print(table("/* Marks that are kept; value: canonical combining class. */",
                "wordpiece_order", [(*row, 1) for row in ORDERED]))
    print(table("/* Above U+FFFF, what has a canonical decomposition; value: 1. */",
                "wordpiece_decomposed", [(*row, 1, 1) for row in DECOMPOSED]))
    print("/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    main()
