#!/usr/bin/env python3
"""Rules on the text of the sources that no compiler checks. One rule a function; each yields faults.

usage: source_rules.py [rule...]    (all rules without arguments; --list names them)

Words are looked for with comments and string literals taken out, so prose may name them."""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CODE_DIRS = ["include", "src", "programs", "tests", "bench", "examples", "fuzz"]
TEXT_DIRS = CODE_DIRS + ["cmake", "scripts", "tools"]
MACROS_MAX = 30
LINES_MAX = 1000

TOKEN = re.compile(r'//[^\n]*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', re.S)


def code_only(text):
    """The text with comments and literals blanked, lines kept."""
    return TOKEN.sub(lambda m: re.sub(r"[^\n]", " ", m[0]), text)


def sources(*dirs):
    for name in dirs or CODE_DIRS:
        folder = ROOT / name
        if folder.is_dir():
            yield from sorted(p for p in folder.rglob("*.[ch]"))


def name_of(path):
    return path.relative_to(ROOT)


def in_module(path, *modules):
    parts = name_of(path).parts
    return parts[0] == "src" and parts[1] in modules


def find_words(pattern, where, why):
    regex = re.compile(pattern)
    for path in where:
        for number, line in enumerate(code_only(path.read_text()).splitlines(), 1):
            match = regex.search(line)
            if match:
                yield f"{name_of(path)}:{number}: {match[0].strip(' (')}: {why}"


def rule_malloc():
    """memory is allocated through base/alloc.h"""
    where = (p for p in sources("src") if not in_module(p, "base"))
    return find_words(r"\b(malloc|calloc|realloc|free|strdup|strndup|aligned_alloc|posix_memalign"
                      r"|reallocarray|asprintf|vasprintf|mmap|munmap)\s*\(", where,
                      "use base/alloc.h")


def rule_intrinsics():
    """intrinsics are included in vec/ only"""
    regex = re.compile(r"#\s*include\s*<(\w*intrin|arm_\w+|cpuid)\.h>")
    for path in sources():
        if in_module(path, "vec"):
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if regex.search(line):
                yield f"{name_of(path)}:{number}: {line.strip()}: intrinsics belong in src/vec"


def rule_clocks():
    """only base/ reads the system's clocks"""
    where = (p for p in sources("src") if not in_module(p, "base"))
    return find_words(r"\b(clock_gettime|gettimeofday|timespec_get|localtime(_r)?|time|clock"
                      r"|__rdtsc)\s*\(", where, "take a struct clock *")


def rule_random():
    """randomness comes from base/rng.h"""
    where = (p for p in sources("src") if not in_module(p, "base"))
    return find_words(r"\b(rand|srand|random|srandom|drand48|getrandom|getentropy|arc4random)\s*\(",
                      where, "take a struct rng *")


def rule_macros():
    """at most 30 function-like macros"""
    found = []
    for path in sources("include", "src", "programs"):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            match = re.match(r"\s*#\s*define\s+(\w+)\(", line)
            if match:
                found.append(f"{name_of(path)}:{number}: {match[1]}")
    if len(found) > MACROS_MAX:
        yield f"{len(found)} function-like macros, {MACROS_MAX} allowed:"
        yield from found


def rule_todo():
    """no unfinished notes"""
    words = "|".join(["TO" + "DO", "FIX" + "ME", "XX" + "X", "HA" + "CK"])
    regex = re.compile(rf"\b({words})\b")
    for name in TEXT_DIRS:
        folder = ROOT / name
        for path in sorted(folder.rglob("*")) if folder.is_dir() else []:
            if path.suffix not in (".c", ".h", ".py", ".sh", ".cmake", ".sql"):
                continue
            for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
                if regex.search(line):
                    yield f"{name_of(path)}:{number}: {line.strip()[:80]}"


def head_comment(path):
    """The comment that the file starts with, or ""."""
    match = re.match(r"/\*.*?\*/|(?://[^\n]*\n)+", path.read_text(), re.S)
    return match[0] if match else ""


def rule_design_comment():
    """every file starts with a comment that says what it is, or names the header that does"""
    for path in sources():
        comment = head_comment(path)
        other = re.search(r"\b[Ss]ee ([\w./]+\.h)\b", comment)
        if other and (path.parent / other[1]).is_file():
            comment = head_comment(path.parent / other[1])
        if len(comment.split()) < 5:
            yield f"{name_of(path)}:1: no design comment at the head"


def rule_length():
    """no file over 1,000 lines"""
    for path in sources():
        lines = path.read_text().count("\n")
        if lines > LINES_MAX:
            yield f"{name_of(path)}: {lines} lines, {LINES_MAX} allowed"


def rule_globals():
    """no mutable globals in src/ (locks aside)"""
    regex = re.compile(r"^(?:static\s+)?(?!.*\b(?:const|typedef|extern|return|struct\s+\w+\s*\{|enum"
                       r"|union\s*\{|_Atomic|pthread_\w+_t)\b)[a-z_][\w\s\*]*\b\w+(?:\[[^\]]*\])*"
                       r"\s*(?:=[^=;{]*)?;\s*$")
    for path in sources("src"):
        if path.suffix != ".c":
            continue
        for number, line in enumerate(code_only(path.read_text()).splitlines(), 1):
            if regex.match(line) and not line.startswith(("struct ", "}", "goto", "break")):
                yield f"{name_of(path)}:{number}: {line.strip()[:80]}: a mutable global"


RULES = {name[5:]: rule for name, rule in list(globals().items()) if name.startswith("rule_")}


def main():
    wanted = sys.argv[1:] or list(RULES)
    if wanted == ["--list"]:
        for name, rule in RULES.items():
            print(f"{name}\t{rule.__doc__}")
        return 0
    bad = 0
    for name in wanted:
        if name not in RULES:
            print(f"unknown rule {name}", file=sys.stderr)
            return 2
        for fault in RULES[name]():
            print(fault)
            bad = 1
    return bad


if __name__ == "__main__":
    sys.exit(main())
