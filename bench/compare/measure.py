"""How a figure is made: exact recall, the cheapest setting that reaches a recall, interleaved rounds."""
import os
import statistics
import sys
import time

import numpy as np

from engines import EngineError

K = 10
EF_MAX = 2048
TARGETS = (0.90, 0.95, 0.99)
CPU_TIME = os.environ.get("U2I_BENCH_CPU_TIME", "0") not in ("", "0")  # see README.md


def say(text):
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Questions:
    """Queries in a file with their exact answers, and perhaps a filter. A row counts as found if its
    exact score is at least that of the k-th best: equal vectors are equally right."""

    def __init__(self, base, path, truth, scratch, *, k=K, limit=None, allow=None, deny=None, deny_count=None):
        self.base, self.path, self.k = base, path, k
        self.queries = np.load(path)[:limit]
        self.truth = np.asarray(truth[: len(self.queries)])
        self.allow, self.deny, self.deny_count, self.scratch = allow, deny, deny_count, scratch
        self.mask = None
        if allow is not None:
            self.mask = np.unpackbits(np.fromfile(allow, np.uint8), bitorder="little")[: len(base)].astype(bool)
        self.denied = np.load(deny)[: len(self.queries), :deny_count] if deny is not None else None
        self.expected = min(k, self.truth.shape[1])
        last = base[self.truth[:, self.expected - 1]]
        self.floor = np.einsum("ij,ij->i", self.queries, last) - 1e-6

    def check(self, ids):
        """The share of the exact answers among ids; what must not be there is an error."""
        valid = (ids >= 0) & (ids < len(self.base))
        safe = np.where(valid, ids, 0)
        scores = np.einsum("ijk,ik->ij", self.base[safe], self.queries)
        if self.mask is not None and not self.mask[safe][valid].all():
            raise EngineError("returned rows that do not pass")
        hits = 0
        for i in range(len(ids)):
            rows = ids[i][valid[i] & (scores[i] >= self.floor[i])]
            if self.denied is not None and np.isin(ids[i][valid[i]], self.denied[i]).any():
                raise EngineError("returned denied rows")
            hits += min(len(np.unique(rows)), self.expected)
        return hits / (self.expected * len(ids))

    def ask(self, engine, ef, variant=None, **more):
        """One pass over all queries: recall and QPS."""
        answer = engine.ask("search", queries=self.path, limit=len(self.queries), k=self.k, ef=ef, allow=self.allow,
                            deny=self.deny, deny_count=self.deny_count, ids=self.scratch, **(variant or {}), **more)
        if CPU_TIME and "cpu_qps" in answer and more.get("threads", 1) == 1:
            answer["qps"] = answer["cpu_qps"]
        answer["recall"] = self.check(np.load(self.scratch))
        return answer


def cheapest(engine, questions, targets, *, ef_min=K, variants=({},), pass_max_s=30.0):
    """For each target the setting that reaches it fastest: {target: {ef, variant, recall, qps}}; the
    smallest ef by bisection for each variant, then the fastest variant."""
    found = {}
    for variant in variants:
        seen = {}

        def ask(ef):
            if ef not in seen:
                seen[ef] = questions.ask(engine, ef, variant)
            return seen[ef]

        low, high = ef_min, ef_min
        for target in targets:
            while ask(high)["recall"] < target and high < EF_MAX and seen[high]["seconds"] < pass_max_s:
                low, high = high, min(EF_MAX, max(high + 1, high * 2))
            if ask(high)["recall"] < target:
                break
            top = high
            while high - low > max(1, low // 50):
                middle = (low + high) // 2
                if ask(middle)["recall"] >= target:
                    high = middle
                else:
                    low = middle
            best = min((ef for ef in seen if seen[ef]["recall"] >= target), default=top)
            point = {"ef": best, "variant": variant, **ask(best)}
            if target not in found or point["qps"] > found[target]["qps"]:
                found[target] = point
            low = best
            high = best
    return found


def best_recall(engine, questions, variants=({},)):
    return max(questions.ask(engine, EF_MAX, variant)["recall"] for variant in variants)


def rounds(jobs, count, minimum_s=0.0):
    """jobs: {key: function that returns QPS}. All jobs once in each of `count` rounds; medians and all."""
    values = {key: [] for key in jobs}
    for _ in range(count):
        for key, job in jobs.items():
            values[key].append(job())
    return {key: {"qps": statistics.median(some), "all": some} for key, some in values.items()}
