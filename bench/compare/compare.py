"""u2i's graph against its peers: the same data, the same run, in turns. README.md says how.

    python compare.py                     all parts; about two hours the first time, mostly peers' builds
    python compare.py --quick             small sets, three minutes (also QUICK=1)
    python compare.py --only text,churn   some parts; the others' last results stay
    python compare.py --report            prints the last results of all parts
    python compare.py --plot FILE.svg     draws them
"""
import argparse
import json
import os
import platform
import sys
import time

import data
import report
from engines import bench_index_path
from measure import CPU_TIME, say
from parts import PEERS_OF, Run, parts


def arguments():
    quick = os.environ.get("QUICK", "0") not in ("", "0")
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", default=quick, help="small sets")
    parser.add_argument("--only", help="parts, comma-separated: " + ", ".join(parts(False)))
    parser.add_argument("--engines", help="only these engines, comma-separated")
    parser.add_argument("--rounds", type=int, help="default 5; 3 with --quick")
    parser.add_argument("--threads", type=int, default=os.cpu_count(), help="for building (default: all)")
    parser.add_argument("--reuse", action="store_true", help="take u2i's graphs from the last run")
    parser.add_argument("--rebuild", nargs="?", const="all", default="", metavar="PEERS",
                        help="build the graphs of these peers again (default: all)")
    parser.add_argument("--prepare", action="store_true", help="only make the data and the peers' graphs")
    parser.add_argument("--report", action="store_true", help="only print the last results")
    parser.add_argument("--plot", metavar="FILE", help="draw the results (.svg or .png)")
    found = parser.parse_args()
    found.rounds = found.rounds or (3 if found.quick else 5)
    found.engines = found.engines.split(",") if found.engines else None
    return parser, found


def processor():
    with open("/proc/cpuinfo") as file:
        names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def results_file(folder, name):
    folder.mkdir(exist_ok=True)
    return folder / f"{name}.json"


def prepare(asked, chosen, run):
    """One graph after the other, so that a machine with little memory does."""
    for name in chosen:
        set_name, _ = asked[name]
        data.make(set_name)
        for peer in run.names(PEERS_OF.get(name, [])):
            engines, _ = run.start_all([peer], set_name)
            for engine in engines.values():
                engine.close()


def measure(asked, chosen, folder, run):
    for name in chosen:
        set_name, part = asked[name]
        data.make(set_name)
        say(f"part {name}")
        start = time.monotonic()
        result = part(run)
        result["seconds"] = time.monotonic() - start
        result["when"] = time.strftime("%Y-%m-%d %H:%M")
        result["machine"] = processor() + (", CPU time" if CPU_TIME else "")
        results_file(folder, name).write_text(json.dumps(result, indent=1))
        say(f"part {name} took {result['seconds']:.0f} s")


def main():
    parser, given = arguments()
    asked = parts(given.quick)
    chosen = given.only.split(",") if given.only else list(asked)
    for name in chosen:
        if name not in asked:
            parser.error(f"no part {name!r}: one of {', '.join(asked)}")
    folder = data.cache_folder() / ("results-quick" if given.quick else "results")
    run = Run(given)
    if given.prepare:
        prepare(asked, chosen, run)
        return 0
    if not given.report:
        if not bench_index_path().exists() and (given.engines is None or "u2i" in given.engines):
            parser.error(f"{bench_index_path()} is not there: make bench-index builds it")
        measure(asked, chosen, folder, run)
    found = {name: json.loads(path.read_text()) for name in asked if (path := results_file(folder, name)).exists()}
    for name, part in found.items():
        print(f"{name}: measured {part['when']}, {part['machine']}, {part['seconds']:.0f} s")
    report.print_all(found, run.problems)
    if given.plot:
        report.plot(found, given.plot)
    if os.path.exists(run.scratch):
        os.unlink(run.scratch)
    return 0


if __name__ == "__main__":
    sys.exit(main())
