#!/usr/bin/env python3
"""How good are u2i's recommendations? u2i and its peers on the splits beside this file, one judge, one table.

    run.py --u2i PROGRAM --work FOLDER [--quick] [--only GROUP ...] [--no-ablation] [--fresh]

u2i runs once on each split, with its defaults (u2i eval writes its answers); each peer runs with every setting of its
grid, and the best one on these very users is shown (peers.py). evaluate.py judges all of them. The peers' answers and
figures are kept in FOLDER and used again while peers.py, the judge and the splits are the same.
The last lines are `metric NAME VALUE`. README.md explains the table. Needs requirements.txt.
"""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
import evaluate  # noqa: E402
import peers  # noqa: E402

ML, SHOP = "ml-latest-small", "online-retail-2"
# name, data set, splits, heldout file, peers, metric line (of NDCG@10)
GROUPS = [
    ("ml-latest-small P1", ML, ("p1-fold0", "p1-fold1"), "heldout", peers.WARM, "ndcg10_ml_small_p1"),
    ("online-retail-2 P1 fold 0", SHOP, ("p1-fold0",), "heldout", peers.WARM, "ndcg10_shop_p1"),
    ("online-retail-2 P1 fold 1", SHOP, ("p1-fold1",), "heldout", peers.WARM, None),
    ("online-retail-2 P6", SHOP, ("p6",), "heldout", peers.WARM, "ndcg10_shop_p6"),
    ("online-retail-2 P6 strangers", SHOP, ("p6",), "heldout_cold", peers.STRANGERS, "ndcg10_shop_p6_cold"),
    ("ml-latest-small P4 cold items", ML, ("p4-fold0", "p4-fold1"), "heldout", peers.COLD, "ndcg10_ml_small_p4"),
]
QUICK_LEAVES_OUT = ("p1-fold1", "p4-fold1")
PARTS = ("ease", "ials", "sequence", "neighbours", "trend", "popular", "content")


def without(*parts):
    return "train_parts=" + ",".join(p for p in PARTS if p not in parts)


# What each part of u2i is worth: without it. On warm users, on cold items, or on both.
ABLATION = [
    ("no training: content and popularity", "train=no", "both"),
    ("no recency: every event counts the same", "rank_power=0 half_life_s=100000000000", "both"),
    ("no half-life: only the order counts", "half_life_s=100000000000", "warm"),
    ("the reference's 0.9^i", "profile_mode=decay", "warm"),
    ("EASE alone", "train_parts=ease", "warm"),
    ("iALS alone", "train_parts=ials", "warm"),
    ("no EASE", without("ease"), "warm"),
    ("no iALS", without("ials"), "warm"),
    ("no sequence", without("sequence"), "warm"),
    ("no neighbours", without("neighbours"), "warm"),
    ("no trend", without("trend"), "warm"),
    ("no popularity", without("popular"), "warm"),
    ("no map from content to taste", without("content"), "cold"),
]
COLUMNS = ("ndcg10", "ndcg100", "recall20")


def digest(*paths):
    h = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as f:
            h.update(f.read())
    return h.hexdigest()[:16]


def say(text):
    print(text, file=sys.stderr, flush=True)


class Bench:
    def __init__(self, options):
        self.o = options
        self.splits = {}  # loaded when a peer needs them
        self.ablated = []  # numbers of ABLATION
        os.makedirs(options.work, exist_ok=True)

    def folder(self, data, split):
        return os.path.join(HERE, "splits", f"{data}-{split}")

    def items(self, data):
        return os.path.join(HERE, "..", "..", "data", data, "items.csv.gz")

    def file(self, data, split, name):
        path = os.path.join(self.folder(data, split), name)
        return next((p for p in (path + ".csv", path + ".csv.gz") if os.path.exists(p)), None)

    def judged(self, data, split, heldout, answers):
        """The judge's metrics as users x METRICS, in the order of the heldout file."""
        users = evaluate.judge(self.file(data, split, heldout), answers, self.file(data, split, "cold_items"))
        return np.array(list(users.values()))

    # ---- Peers

    def peer(self, data, split, heldout, name, method):
        """{setting: users x METRICS}, from the folder of earlier results where nothing has changed."""
        key = digest(os.path.join(HERE, "peers.py"), os.path.join(HERE, "evaluate.py"),
                     self.file(data, split, "train"), self.file(data, split, heldout))
        kept = os.path.join(self.o.work, "peers", f"{data}-{split}-{heldout}-{name.replace(' ', '-')}-{key}.npz")
        if os.path.exists(kept) and not self.o.fresh:
            with np.load(kept) as f:
                return {setting: f[setting] for setting in f.files}
        os.makedirs(os.path.dirname(kept), exist_ok=True)
        if (data, split) not in self.splits:
            self.splits = {(data, split): peers.Split(self.folder(data, split), self.items(data))}
        found, start = {}, time.time()
        with tempfile.TemporaryDirectory() as scratch:
            answers = os.path.join(scratch, "answers.csv")
            for setting, scores in method(self.splits[data, split]):
                with open(answers, "w", encoding="utf-8") as f:
                    f.write("user,item,rank\n")
                    f.writelines(f"{u},{i},{r}\n" for u, i, r in peers.rank(self.splits[data, split], scores))
                found[setting or "-"] = self.judged(data, split, heldout, answers)
        say(f"  {data}-{split} {heldout}: {name}, {len(found)} settings in {time.time() - start:.0f} s")
        np.savez(kept, **found)
        return found

    def best(self, data, splits, heldout, name, method):
        """The setting that is best over the splits taken together, and its metrics."""
        each = [self.peer(data, s, heldout, name, method) for s in splits]
        pooled = {setting: np.concatenate([e[setting] for e in each]) for setting in each[0]}
        setting = max(pooled, key=lambda s: pooled[s][:, 0].mean())
        return setting, pooled[setting]

    # ---- u2i

    def u2i(self, data, splits, variants):
        """Runs u2i eval; its answers lie in FOLDER/u2i/VARIANT/SPLIT.csv. {variant: train seconds}, latency."""
        out = os.path.join(self.o.work, "u2i", "{variant}", "{split}.csv")
        command = [self.o.u2i, "eval", "--items", self.items(data), "--json", "--samples", "1", "--out", out]
        for split in splits:
            command += ["--split", self.folder(data, split)]
        for name, settings in variants:
            command += ["--variant", f"{name}: {settings}"]
        done = subprocess.run(command, stdout=subprocess.PIPE, check=False)
        if done.returncode != 0:
            raise SystemExit(f"run.py: u2i eval failed: {' '.join(command)}")
        return [json.loads(line) for line in done.stdout.splitlines()]

    def answers(self, data, splits, heldout, variant):
        return np.concatenate([
            self.judged(data, s, heldout, os.path.join(self.o.work, "u2i", variant, f"{data}-{s}.csv")) for s in splits])


# ---- Tables ------------------------------------------------------------------------------------

def interval(a, b, samples=10000):
    """Mean of a - b, and its 95 % interval by a paired bootstrap over users, as bootstrap.py draws it."""
    difference, rng = a - b, np.random.RandomState(0)
    n = len(difference)
    means = [difference[rng.randint(0, n, n)].mean() for _ in range(samples)]
    low, high = np.percentile(means, (2.5, 97.5))
    return difference.mean(), low, high


def verdict(low, high):
    return "better" if low > 0 else "worse" if high < 0 else "no difference shown"


def cell(values):
    return " / ".join(f"{values[:, evaluate.METRICS.index(c)].mean():.4f}" for c in COLUMNS)


def print_group(name, users, rows, ours):
    """rows: [(method, setting, users x METRICS)], u2i apart."""
    print(f"\n{name}, {users} users")
    print(f"  {'':24} {'NDCG@10 / NDCG@100 / Recall@20':32} {'se':>6}  best setting of the grid, on these users")
    for method, setting, values in rows + [("u2i", "its defaults", ours)]:
        se = values[:, 0].std() / len(values) ** .5
        print(f"  {method:24} {cell(values):32} {se:6.4f}  {setting}")
    best = max(rows, key=lambda r: r[2][:, 0].mean())
    mean, low, high = interval(ours[:, 0], best[2][:, 0])
    print(f"  u2i less {best[0]}: {mean:+.4f}, 95 % from {low:+.4f} to {high:+.4f}: {verdict(low, high)}")


def print_ablation(bench, groups):
    print("\nWhat each part is worth: NDCG@10 without it, and the difference with its 95 % interval")
    for name, data, splits, heldout, methods, _ in groups:
        kind = "cold" if methods is peers.COLD else "strangers" if methods is peers.STRANGERS else "warm"
        ours = bench.answers(data, splits, heldout, "u2i")[:, 0]
        print(f"  {name}: {ours.mean():.4f}")
        for k, (part, _, where) in enumerate(ABLATION):
            if where in (kind, "both") and kind != "strangers" and k in bench.ablated:
                less = bench.answers(data, splits, heldout, f"without{k}")[:, 0]
                mean, low, high = interval(less, ours)
                print(f"    {part:42} {less.mean():.4f}  {mean:+.4f}  {low:+.4f} .. {high:+.4f}  {verdict(low, high)}")


def chosen_groups(options):
    for group in GROUPS:
        name, data, splits, heldout, methods, metric = group
        if options.only and not any(o in name for o in options.only):
            continue
        if options.quick:
            splits = tuple(s for s in splits if s not in QUICK_LEAVES_OUT)
        if splits:
            yield name, data, splits, heldout, methods, metric


def known_ablations(u2i):
    """Those whose settings this u2i has."""
    with tempfile.TemporaryDirectory() as scratch:
        store = os.path.join(scratch, "x.db")
        quiet = {"stdout": subprocess.PIPE, "check": True}
        subprocess.run([u2i, "init", store], **quiet)
        lines = subprocess.run([u2i, "config", store, "--json"], **quiet).stdout.splitlines()
    known = {json.loads(line)["name"] for line in lines} | {"train"}
    names = lambda settings: {pair.split("=")[0] for pair in settings.split()}
    return [k for k, (_, settings, _) in enumerate(ABLATION) if names(settings) <= known]


def train_seconds(u2i):
    """Import apart: `u2i train` on all events of ml-latest-small, the wall time that it reports."""
    data = os.path.join(HERE, "..", "..", "data", ML)
    with tempfile.TemporaryDirectory() as scratch:
        store = os.path.join(scratch, "ml.db")
        quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "check": True}
        subprocess.run([u2i, "init", store], **quiet)
        subprocess.run([u2i, "import", store, "items", os.path.join(data, "items.csv.gz")], **quiet)
        subprocess.run([u2i, "import", store, "events", os.path.join(data, "events.csv.gz"), "--no-value"], **quiet)
        return min(json.loads(subprocess.run([u2i, "train", store, "--json"], **quiet).stdout)["seconds"]
                   for _ in range(2))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--u2i", required=True, metavar="PROGRAM")
    p.add_argument("--work", required=True, metavar="FOLDER")
    p.add_argument("--quick", action="store_true", help="one fold of each split")
    p.add_argument("--only", action="append", metavar="GROUP", help="groups whose name contains this")
    p.add_argument("--no-ablation", action="store_true")
    p.add_argument("--fresh", action="store_true", help="peers again")
    o = p.parse_args()
    bench, groups, metrics = Bench(o), list(chosen_groups(o)), []
    if not o.no_ablation:
        bench.ablated = known_ablations(o.u2i)
    for data, splits, cold in dict.fromkeys((g[1], g[2], g[4] is peers.COLD) for g in groups if g[4] is not peers.STRANGERS):
        say(f"u2i on {', '.join(f'{data}-{s}' for s in splits)}")
        kinds = ("cold" if cold else "warm", "both")
        bench.u2i(data, splits, [("u2i", "")] + [(f"without{k}", ABLATION[k][1]) for k in bench.ablated
                                                 if ABLATION[k][2] in kinds])
    for name, data, splits, heldout, methods, metric in groups:
        ours = bench.answers(data, splits, heldout, "u2i")
        rows = [(m, *bench.best(data, splits, heldout, m, f)) for m, f in methods.items()]
        print_group(name, len(ours), rows, ours)
        if metric:
            metrics.append((metric, f"{ours[:, 0].mean():.5f}"))
    if not o.no_ablation:
        print_ablation(bench, groups)
    metrics.append(("train_ml_small_s", f"{train_seconds(o.u2i):.2f}"))
    print()
    for metric in metrics:
        print("metric", *metric)


if __name__ == "__main__":
    main()
