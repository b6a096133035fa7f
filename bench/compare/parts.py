"""The parts of the comparison. Each takes a Run and returns what it found as a dictionary for JSON."""
import os
import time
from pathlib import Path

import numpy as np

import data
from engines import GRAPHS, Engine, EngineError
from measure import K, TARGETS, Questions, cheapest, best_recall, rounds, say

SHARES = (0.5, 0.1, 0.01, 0.001)


class Run:
    """What all parts share: sizes, folders and the choice of engines."""

    def __init__(self, arguments):
        self.quick, self.rounds, self.threads = arguments.quick, arguments.rounds, arguments.threads
        self.only_engines, self.reuse, self.rebuild = arguments.engines, arguments.reuse, arguments.rebuild
        self.limit = 500 if self.quick else 1000
        self.folder = data.cache_folder()
        self.graphs = self.folder / "graphs"
        self.graphs.mkdir(exist_ok=True)
        self.scratch = str(self.folder / f"ids-{os.getpid()}.npy")
        self.problems, self.fresh = {}, set()  # fresh: graphs of ours that this process has written

    def path(self, name, what):
        return str(self.folder / f"{name}.{what}.npy")

    def names(self, wanted):
        return [name for name in wanted if not self.only_engines or name in self.only_engines]

    def graph_file(self, name, engine):
        return self.graphs / f"{name}-{engine}.bin"

    def questions(self, name, kind, **more):
        truth = np.load(self.path(name, kind + ".truth"), mmap_mode="r")
        more.setdefault("limit", self.limit)
        return Questions(np.load(self.path(name, "base"), mmap_mode="r"), self.path(name, kind), truth, self.scratch,
                         **more)

    def start(self, name, set_name, rows=None):
        """An engine with the set built or loaded, ready for queries; what building it took."""
        engine = Engine(name)
        try:
            loaded = engine.ask("load", base=self.path(set_name, "base"), rows=rows)
            engine.variants = loaded.get("variants", [{}])
            if name == "u2i":
                return engine, start_u2i(self, engine, set_name if rows is None else f"{set_name}-{rows}")
            path = self.graph_file(set_name, name)
            if self.rebuild == "all" or name in self.rebuild.split(","):
                path.with_suffix(".json").unlink(missing_ok=True)
            built = engine.ask("build", threads=self.threads, index=path)
        except EngineError:
            engine.close()
            raise
        return engine, built

    def start_all(self, names, set_name):
        engines, builds = {}, {}
        for name in self.names(names):
            try:
                engines[name], builds[name] = self.start(name, set_name)
                say(f"{set_name}: {name} built, {builds[name]['wall_s']:.1f} s, {builds[name]['bytes']:.0f} bytes/vector")
            except EngineError as error:
                self.problems[name] = str(error)
                say(f"{set_name}: {name} left out: {error}")
        return engines, builds


def start_u2i(run, engine, name):
    """Builds, calibrates, writes a snapshot and opens it: the state in which it serves."""
    path = run.graph_file(name, "u2i")
    found = {}
    if not (path in run.fresh or run.reuse and path.exists()):
        found = engine.ask("build", threads=run.threads)
        found["calibrate"] = engine.ask("calibrate", recall=0.95, threads=run.threads)
        found["built_bytes"] = engine.ask("stats")["bytes"]
        found["save_s"] = engine.ask("save", path=path)["seconds"]
        run.fresh.add(path)
    else:
        found = {"wall_s": 0.0, "cpu_s": 0.0, "threads": run.threads}  # not built here
    found["open"] = engine.ask("open", path=path, settle=1)
    found["stats"] = engine.ask("stats")
    found["bytes"] = found["stats"]["bytes"]
    return found


# ---- Search --------------------------------------------------------------------------------------


def search(run, set_name, names, kinds=("users", "items")):
    """All engines at the targets, in rounds; the user vectors' figures are the ones that count."""
    engines, builds = run.start_all(["u2i", *names], set_name)
    base = np.load(run.path(set_name, "base"), mmap_mode="r")
    result = {"set": set_name, "rows": base.shape[0], "dim": base.shape[1], "builds": builds, "points": {}, "auto": {}}
    for kind in kinds:
        questions = run.questions(set_name, kind)
        points, jobs = {}, {}
        for name, engine in engines.items():
            try:
                low = 1 if name == "faiss-ivfpq" else K
                for target, point in cheapest(engine, questions, TARGETS, ef_min=low, variants=engine.variants).items():
                    points.setdefault(str(target), {})[name] = point
                    jobs[name, target] = lambda e=engine, p=point: questions.ask(e, p["ef"], p["variant"])["qps"]
            except EngineError as error:
                run.problems[name] = str(error)
                say(f"{set_name} {kind}: {name}: {error}")
            say(f"{set_name} {kind}: {name} settled")
        for (name, target), values in rounds(jobs, run.rounds).items():
            points[str(target)][name].update(values)
        for target in points:
            for name, point in points[target].items():
                point.update({key: value for key, value in
                              questions.ask(engines[name], point["ef"], point["variant"], each=1).items()
                              if key.startswith("p")})
        result["points"][kind] = points
        if "u2i" in engines:
            result["auto"][kind] = questions.ask(engines["u2i"], 0)
            result.setdefault("threads", {})[kind] = two_threads(run, engines["u2i"], questions, points)
    for engine in engines.values():
        engine.close()
    return result


def two_threads(run, engine, questions, points):
    point = points.get("0.95", {}).get("u2i")
    if point is None:
        return {}
    found = rounds({n: lambda n=n: questions.ask(engine, point["ef"], threads=n)["qps"] for n in (1, 2)}, run.rounds)
    return {"one": found[1]["qps"], "two": found[2]["qps"], "ratio": found[2]["qps"] / found[1]["qps"]}


# ---- Filters -------------------------------------------------------------------------------------


def make_filters(run, set_name):
    """Bitmaps of the rows that pass: (share, kind) -> file. Correlated: the rows nearest to one row."""
    base = np.load(run.path(set_name, "base"), mmap_mode="r")
    rng, files = np.random.default_rng(77), {}
    near = np.argsort(-(base @ base[rng.integers(len(base))]), kind="stable")
    for share in SHARES:
        count = max(1, int(len(base) * share))
        for kind, rows in (("random", rng.permutation(len(base))[:count]), ("correlated", near[:count])):
            mask = np.zeros(len(base), np.uint8)
            mask[rows] = 1
            path = run.folder / f"{set_name}.allow-{kind}-{share}.bits"
            np.packbits(mask, bitorder="little").tofile(path)
            files[share, kind] = str(path)
    return files


def exact_among(base, queries, rows, k):
    rows = np.sort(rows)
    return rows[data.exact(np.ascontiguousarray(base[rows]), queries, min(k, len(rows)))]


def filters(run, set_name, names=("hnswlib", "faiss-hnsw")):
    """u2i with its own choice of strategy and ef, the peers with the smallest ef that reaches .95, and a
    scan of the passing rows."""
    engines, _ = run.start_all(["u2i", *names, "faiss-flat"], set_name)
    base, limit = np.load(run.path(set_name, "base")), 200 if run.quick else 300
    queries = np.load(run.path(set_name, "users"))[:limit]
    plain = run.questions(set_name, "users", limit=limit)
    result, cases = {"set": set_name, "cases": []}, make_filters(run, set_name)
    for (share, kind), path in cases.items():
        mask = np.unpackbits(np.fromfile(path, np.uint8), bitorder="little")[: len(base)]
        truth = exact_among(base, queries, np.flatnonzero(mask), K)
        questions = Questions(base, run.path(set_name, "users"), truth, run.scratch, limit=limit, allow=path)
        case = {"share": share, "kind": kind, "engines": {}}
        jobs = {}
        for name, engine in engines.items():
            try:
                if name in ("u2i", "faiss-flat"):
                    point = {"ef": 0, **questions.ask(engine, 0)}
                else:
                    most = 5.0 if run.quick else 30.0
                    point = cheapest(engine, questions, (0.95,), pass_max_s=most).get(0.95)
                    if point is None:
                        case["engines"][name] = {"reached": False, "recall": questions.ask(engine, 512)["recall"]}
                        continue
                case["engines"][name] = point
                jobs[name] = lambda e=engine, p=point, q=questions: (
                    q.ask(e, p["ef"])["qps"] if p["seconds"] < 5 else p["qps"])
            except EngineError as error:
                run.problems[name] = str(error)
                say(f"{set_name} filters: {name}: {error}")
        if "u2i" in engines:
            jobs["walk"] = lambda: plain.ask(engines["u2i"], 0)["qps"]
            flat = questions.ask(engines["u2i"], 0, flat=1)
            case["engines"]["u2i-flat"] = {"ef": 0, **flat}
            jobs["u2i-flat"] = lambda q=questions: q.ask(engines["u2i"], 0, flat=1)["qps"]
            case["engines"]["walk"] = {"ef": 0, "recall": 1}
        for name, values in rounds(jobs, 3 if run.quick else run.rounds).items():
            case["engines"][name].update(values)
        result["cases"].append(case)
        say(f"{set_name} filter {share:g} {kind}: " + ", ".join(
            f"{name} {point.get('qps', 0):.0f}/s at {point['recall']:.3f}" for name, point in case["engines"].items()))
    for engine in engines.values():
        engine.close()
    return result


def exclude(run, set_name, names=("hnswlib", "faiss-hnsw")):
    """The 1,000 nearest rows of each query are denied; 100 where there are few rows."""
    engines, _ = run.start_all(["u2i", *names], set_name)
    base = np.load(run.path(set_name, "base"), mmap_mode="r")
    seen_path = run.path(set_name, "users.seen")
    seen = np.load(seen_path)
    count, limit = 1000, 200 if run.quick else 500
    plain = run.questions(set_name, "users", limit=limit)
    questions = Questions(base, run.path(set_name, "users"), seen[:, count : count + K], run.scratch, limit=limit,
                          deny=seen_path, deny_count=count)
    result, jobs = {"set": set_name, "count": count, "engines": {}}, {}
    for name, engine in engines.items():
        try:
            if name == "u2i":
                point = {"ef": 0, **questions.ask(engine, 0)}
                without = {"ef": 0, **plain.ask(engine, 0)}
            else:
                point = cheapest(engine, questions, (0.95,)).get(0.95)
                without = cheapest(engine, plain, (0.95,)).get(0.95)
            if point is None or without is None:
                result["engines"][name] = {"reached": False, "recall": best_recall(engine, questions)}
                continue
            result["engines"][name] = {"with": point, "without": without}
            jobs[name, "with"] = lambda e=engine, p=point: questions.ask(e, p["ef"])["qps"]
            jobs[name, "without"] = lambda e=engine, p=without: plain.ask(e, p["ef"])["qps"]
        except EngineError as error:
            run.problems[name] = str(error)
            say(f"{set_name} exclude: {name}: {error}")
    for (name, which), values in rounds(jobs, run.rounds).items():
        result["engines"][name][which].update(values)
    for engine in engines.values():
        engine.close()
    return result


# ---- Change --------------------------------------------------------------------------------------


def churn(run, set_name):
    """Half of the vectors replaced by others, one by one in random order, against a graph built anew from
    the same final vectors; then queries while vectors are inserted."""
    base = np.load(run.path(set_name, "base"))
    rng = np.random.default_rng(5)
    kept = len(base) * 2 // 3
    first, others = base[:kept], base[kept : kept + kept // 2]
    order = rng.permutation(kept)[: len(others)].astype(np.int32)
    final = first.copy()
    final[order] = others
    paths = {name: str(run.folder / f"{set_name}.churn-{name}.npy") for name in ("first", "others", "order", "final")}
    for name, array in (("first", first), ("others", others), ("order", order), ("final", final)):
        np.save(paths[name], array)
    queries = np.load(run.path(set_name, "users"))[: run.limit]
    truth = data.exact(final, queries, K)
    questions = Questions(final, run.path(set_name, "users"), truth, run.scratch, limit=run.limit)
    fresh, churned = Engine("u2i"), Engine("u2i")
    fresh.ask("load", base=paths["final"])
    fresh.ask("build", threads=run.threads)
    churned.ask("load", base=paths["first"])
    churned.ask("build", threads=run.threads, rows=kept - min(2000, kept // 10))  # the rest: single inserts
    before = churned.ask("stats")
    changed = churned.ask("churn", **{"with": paths["others"], "order": paths["order"]})
    after = churned.ask("stats")
    point = cheapest(fresh, questions, (0.95,))[0.95]
    again = {"ef": point["ef"], **questions.ask(churned, point["ef"])}
    equal = cheapest(churned, questions, (0.95,)).get(0.95)
    jobs = {"fresh": lambda: questions.ask(fresh, point["ef"])["qps"],
            "churned": lambda: questions.ask(churned, point["ef"])["qps"]}
    if equal is not None:
        jobs["equal"] = lambda: questions.ask(churned, equal["ef"])["qps"]
    speeds = rounds(jobs, run.rounds)
    mixed = fresh.ask("mixed", **{"queries": run.path(set_name, "users"), "with": paths["others"], "ef": point["ef"],
                                  "k": K, "seconds": 2 if run.quick else 6})
    fresh.close()
    churned.close()
    return {"set": set_name, "rows": kept, "replaced": len(others), "ef": point["ef"], "recall_fresh": point["recall"],
            "recall_churned": again["recall"], "qps_fresh": speeds["fresh"]["qps"],
            "qps_churned": speeds["churned"]["qps"], "ef_equal": equal and equal["ef"],
            "qps_equal": speeds.get("equal", {}).get("qps"), "before": before, "after": after, "changed": changed,
            "mixed": mixed}


# ---- Size ----------------------------------------------------------------------------------------


def scaling(run, set_name, sizes):
    """Time per query at recall .95 as the set grows: prefixes of one set, whose order is random."""
    base, points = np.load(run.path(set_name, "base"), mmap_mode="r"), []
    questions, jobs, engines = {}, {}, {}
    queries = np.load(run.path(set_name, "items"))[: run.limit]
    for rows in sizes:
        some = base[:rows]
        truth = data.exact(np.ascontiguousarray(some), queries, K)
        questions[rows] = Questions(some, run.path(set_name, "items"), truth, run.scratch, limit=run.limit)
        engines[rows], _ = run.start("u2i", set_name, rows=rows if rows < len(base) else None)
        point = cheapest(engines[rows], questions[rows], (0.95,))[0.95]
        points.append({"rows": rows, **point})
        jobs[rows] = lambda rows=rows, p=point: questions[rows].ask(engines[rows], p["ef"])["qps"]
        say(f"{set_name} {rows:,}: ef {point['ef']}, {point['qps']:.0f}/s")
    found = rounds(jobs, run.rounds)
    for point in points:
        point.update(found[point["rows"]])
        point["us"] = 1e6 / point["qps"]
    for engine in engines.values():
        engine.close()
    return {"set": set_name, "dim": base.shape[1], "points": points}


def opening(run, set_name):
    """A snapshot opened until the first answer, warm, several times."""
    engine = Engine("u2i")
    engine.ask("load", base=run.path(set_name, "base"))
    path = run.graph_file(set_name, "u2i")
    built = {}
    if not (path in run.fresh or run.reuse and path.exists()):
        built = engine.ask("build", threads=run.threads)
        built["calibrate"] = engine.ask("calibrate", recall=0.95, threads=run.threads)
        built["save_s"] = engine.ask("save", path=path)["seconds"]
        run.fresh.add(path)
    opened = [engine.ask("open", path=path, queries=run.path(set_name, "items")) for _ in range(run.rounds)]
    questions = run.questions(set_name, "items")
    auto = questions.ask(engine, 0)
    stats = engine.ask("stats")
    engine.close()
    return {"set": set_name, "rows": stats["count"], "build": built, "file_bytes": os.path.getsize(path),
            "open_s": sorted(answer["seconds"] for answer in opened)[len(opened) // 2],
            "opens": opened, "auto": auto, "stats": stats, "when": time.strftime("%Y-%m-%d %H:%M")}


QUICK_PEERS = ["hnswlib", "faiss-hnsw-sq8", "glass-sq8", "glass-sq4"]
PEERS_OF = {  # of the parts that compare with graphs of peers; the others take theirs from `text`
    "text": [*GRAPHS, "faiss-ivfpq"],
    "clustered300k": GRAPHS,
    "clustered1m": ["hnswlib", "faiss-hnsw-sq8", "glass-sq8", "glass-sq4"],
}


def parts(quick):
    """What can be asked for with --only: name -> (data set, function)."""
    text, clustered = ("text-quick", "clustered-quick") if quick else ("text", "clustered1m")
    scaled = (2_000, 10_000, 40_000) if quick else (10_000, 100_000, 1_000_000)
    if quick:
        searches = {"text": (text, QUICK_PEERS, ("users", "items")), "clustered": (clustered, QUICK_PEERS, ("items",))}
    else:
        searches = {name: (name, PEERS_OF[name], ("users", "items")) for name in ("text", "clustered300k", "clustered1m")}
    return {
        **{name: (what[0], lambda run, what=what: search(run, *what)) for name, what in searches.items()},
        "filters": (text, lambda run: filters(run, text)),
        "exclude": (text, lambda run: exclude(run, text)),
        "churn": (text, lambda run: churn(run, text)),
        "scaling": (clustered, lambda run: scaling(run, clustered, scaled)),
        "open": (clustered if quick else "wide1m", lambda run: opening(run, clustered if quick else "wide1m")),
    }
