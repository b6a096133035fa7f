#!/usr/bin/env python3
"""Include direction: a file in src/<m>/ includes its own folder and lower layers only.

usage: layers.py [src [tools/layers.txt]]

layers.txt has one layer a line, lowest first; modules on one line are siblings that may not see each
other; `a > b` after them allows a to include its sibling's header. Programs, examples and everything
outside of src/ are held to include/u2i.h by the compiler's include path, not here."""
import pathlib
import re
import sys


def read_layers(path):
    """{module: rank} and the allowed exceptions {(from, to)}."""
    rank, allowed = {}, set()
    for number, line in enumerate(path.read_text().splitlines()):
        line = line.split("#")[0].strip()
        if ">" in line:
            allowed.add(tuple(part.strip() for part in line.split(">")))
            continue
        for module in line.split():
            rank[module] = number
    return rank, allowed


def check_file(path, module, rank, allowed):
    faults = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        match = re.match(r'\s*#\s*include\s+"(?:\.\./)*([a-z0-9_]+)/', line)
        if not match or match[1] == module:
            continue
        other = match[1]
        if (module, other) in allowed:
            continue
        if other not in rank:
            faults.append(f"{path}:{number}: {other}/ is not a module of layers.txt")
        elif rank[other] >= rank.get(module, -1):
            faults.append(f"{path}:{number}: {module} must not include {other}")
    return faults


def main():
    src = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "src")
    layers = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else "tools/layers.txt")
    rank, allowed = read_layers(layers)
    faults = []
    for path in sorted(src.rglob("*.[ch]")):
        module = path.relative_to(src).parts[0]
        if module not in rank:
            faults.append(f"{path}: module {module} is not in {layers}")
        else:
            faults += check_file(path, module, rank, allowed)
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
