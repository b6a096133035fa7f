#!/usr/bin/env python3
"""The README does not lie: its C program is examples/quickstart.c, and its links lead somewhere.

usage: readme.py          checks
       readme.py --shell  prints the commands of its ```sh block, one a line, for a test to run"""
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def block(text, language):
    match = re.search(rf"^```{language}\n(.*?)^```$", text, re.M | re.S)
    return match[1] if match else ""


def broken_links(path):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", path.read_text()):
        if not target.startswith(("http:", "https:", "mailto:")):
            if not (path.parent / target).exists():
                yield f"{path.relative_to(ROOT)}: {target} does not exist"


def main():
    readme = (ROOT / "README.md").read_text()
    if "--shell" in sys.argv:
        print(block(readme, "sh"), end="")
        return 0
    faults = []
    program = block(readme, "c")
    if not program or program not in (ROOT / "examples/quickstart.c").read_text():
        faults.append("README.md: its C program is not that of examples/quickstart.c")
    pages = [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("data/*.md"),
             *ROOT.glob("fuzz/*.md")]
    for page in pages:
        faults += broken_links(page)
    print("\n".join(faults), end="\n" if faults else "")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
