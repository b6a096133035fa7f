#!/usr/bin/env python3
"""A round of iALS, ours beside the package implicit's, on a million made-up events with 64 factors, in one run.

    ials_speed.py --bench-train PROGRAM [--quick]

PROGRAM prints `metric ials_ms_per_round VALUE` (bench/bench_train.c); implicit runs on a matrix of the same kind and
size, with its default solver (conjugate gradients) and its exact one (Cholesky, as ours is); the faster one counts.
Prints `metric ials_speed_over_implicit VALUE`: how many times as fast a round of ours is.
"""
import argparse
import re
import subprocess
import time

import numpy as np
from scipy import sparse
from threadpoolctl import threadpool_limits


def matrix(users, items, n, tastes=40):
    """As make_matrix() of bench_train.c draws it: a few tastes, falling popularity, differing diligence."""
    rng = np.random.RandomState(1)
    user = (rng.rand(n) ** 1.5 * users).astype(np.int64)
    rank = (rng.rand(n) ** 2 * items).astype(np.int64)
    item = np.where(rng.rand(n) < .6, (rank // tastes * tastes + user % tastes) % items, rank) * 7919 % items
    m = sparse.csr_matrix((np.ones(n, "f4"), (user, item)), shape=(users, items))
    m.data[:] = 1
    return m


def implicit_ms(x, cg, rounds=4):
    """The least time of a round."""
    from implicit.cpu.als import AlternatingLeastSquares
    times = [time.perf_counter()]
    model = AlternatingLeastSquares(factors=64, regularization=1, alpha=1, iterations=rounds, random_state=1, use_cg=cg)
    with threadpool_limits(1, "blas"):
        model.fit(x, show_progress=False, callback=lambda *_: times.append(time.perf_counter()))
    return 1e3 * np.diff(times[1:]).min()  # the first one prepares too


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bench-train", required=True, metavar="PROGRAM")
    p.add_argument("--quick", action="store_true")
    o = p.parse_args()
    x = matrix(500, 300, 9000) if o.quick else matrix(50000, 20000, 1200000)
    theirs = {"conjugate gradients": implicit_ms(x, True), "Cholesky": implicit_ms(x, False)}
    out = subprocess.run([o.bench_train] + ["--smoke"] * o.quick, stdout=subprocess.PIPE, check=True).stdout.decode()
    ours = float(re.search(r"^metric ials_ms_per_round ([\d.]+)", out, re.M)[1])
    for name, ms in theirs.items():
        print(f"iALS, 64 factors, {x.nnz:,} entries: implicit with {name} {ms:.1f} ms a round, u2i {ours:.1f} ms")
    print(f"metric ials_speed_over_implicit {min(theirs.values()) / ours:.2f}")


if __name__ == "__main__":
    main()
