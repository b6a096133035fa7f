#!/usr/bin/env python3
"""Limits on functions, measured by lizard: length, cyclomatic complexity, number of parameters; and
one name for one function over the whole library, statics too.

usage: function_limits.py [--stats] LIZARD      (LIZARD: the command to run)

tools/lizard.allow exempts functions by name, one a line: `path function reason`. An exemption that
is no longer needed is a fault too, so that the list cannot rot."""
import csv
import io
import pathlib
import statistics
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
DIRS = ["src", "programs", "tests", "bench", "examples", "fuzz"]
LINES_MAX, COMPLEXITY_MAX, PARAMETERS_MAX = 70, 15, 6
COLUMNS = ["code_lines", "complexity", "tokens", "parameters", "lines", "location", "path", "name",
           "long_name", "start", "end"]


def measure(lizard):
    dirs = [d for d in DIRS if (ROOT / d).is_dir()]
    out = subprocess.run([lizard, "-l", "c", "--csv", *dirs], cwd=ROOT, text=True,
                         stdout=subprocess.PIPE, check=False).stdout
    rows = [dict(zip(COLUMNS, row)) for row in csv.reader(io.StringIO(out)) if len(row) == 11]
    for row in rows:
        for key in ("complexity", "parameters", "lines"):
            row[key] = int(row[key])
    return rows


def read_allowed():
    allowed = {}
    for number, line in enumerate((ROOT / "tools/lizard.allow").read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        words = line.split(None, 2)
        if len(words) < 3:
            sys.exit(f"tools/lizard.allow:{number}: path, function and a reason are needed")
        allowed[words[0], words[1]] = False
    return allowed


def faults_of(row):
    limits = [("lines", LINES_MAX), ("complexity", COMPLEXITY_MAX), ("parameters", PARAMETERS_MAX)]
    return [f"{row[key]} {key}, {most} allowed" for key, most in limits if row[key] > most]


def check_limits(rows):
    allowed, bad = read_allowed(), []
    for row in rows:
        faults = faults_of(row)
        key = (row["path"], row["name"])
        if faults and key in allowed:
            allowed[key] = True
        elif faults:
            bad.append(f"{row['path']}:{row['start']}: {row['name']}: {'; '.join(faults)}")
    bad += [f"tools/lizard.allow: {path} {name} needs no exemption (any more)"
            for (path, name), used in allowed.items() if not used]
    return bad


def check_names(rows):
    seen, bad = {}, []
    for row in rows:
        if not row["path"].startswith("src/") or row["path"].endswith(".h"):
            continue
        first = seen.setdefault(row["name"], row)
        if first["path"] != row["path"]:
            bad.append(f"{row['path']}:{row['start']}: {row['name']} is also in {first['path']}")
    return bad


def main():
    args = [a for a in sys.argv[1:] if a != "--stats"]
    rows = measure(args[0] if args else "lizard")
    if not rows:
        print("lizard found no function")
        return 1
    if len(args) < len(sys.argv) - 1:
        lengths = sorted(r["lines"] for r in rows if r["path"].startswith("src/"))
        print(f"{len(lengths)} functions in src/: median {statistics.median(lengths):.0f} lines, "
              f"90 % under {lengths[len(lengths) * 9 // 10] + 1}, longest {lengths[-1]}")
    bad = check_limits(rows) + check_names(rows)
    print("\n".join(bad), end="\n" if bad else "")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
