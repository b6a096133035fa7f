#!/usr/bin/env python3
"""What numpy says about a small matrix: tests/golden/train_golden.h, for tests/unit/test_train_*.c.

usage: train_golden.py > train_golden.h      (numpy; the random numbers are base/rng.h's)"""
import math

import numpy as np

MASK = (1 << 64) - 1
USERS, ITEMS, DIM, ROUNDS, SEED = 40, 25, 5, 12, 7


class Rng:
    """base/rng.c: xoshiro256** seeded by SplitMix64."""

    def __init__(self, seed):
        self.s = []
        for _ in range(4):
            seed = (seed + 0x9E3779B97F4A7C15) & MASK
            x = seed
            x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & MASK
            x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & MASK
            self.s.append(x ^ (x >> 31))

    def u64(self):
        s = self.s
        rotate = lambda x, by: ((x << by) | (x >> (64 - by))) & MASK
        out, t = (rotate((s[1] * 5) & MASK, 7) * 9) & MASK, (s[1] << 17) & MASK
        s[2] ^= s[0]
        s[3] ^= s[1]
        s[1] ^= s[2]
        s[0] ^= s[3]
        s[2] ^= t
        s[3] = rotate(s[3], 45)
        return out

    def unit(self):
        return (self.u64() >> 11) * 2.0 ** -53

    def normal(self):
        while True:
            x = 2 * self.unit() - 1
            y = 2 * self.unit() - 1
            s = x * x + y * y
            if 0 < s < 1:
                return x * math.sqrt(-2 * math.log(s) / s)


def data():
    """Two tastes; item 24 has no events, item 23 one; user 39 nothing."""
    rng, X = Rng(1), np.zeros((USERS, ITEMS))
    for u in range(USERS - 1):
        for i in range(ITEMS - 2):
            if rng.unit() < (.5 if u % 2 == i % 2 else .08):
                X[u, i] = (1.0, .5, .25)[int(rng.unit() * 3)]
    X[3, 23] = 1
    return X


def ease(X, lam):
    keep = np.flatnonzero((X > 0).sum(0) >= 2)
    P = np.linalg.inv(X[:, keep].T @ X[:, keep] + lam * np.eye(len(keep)))
    B = np.zeros((ITEMS, ITEMS))
    B[np.ix_(keep, keep)] = -P / np.diag(P)
    np.fill_diagonal(B, 0)
    return B


def solve_rows(X, V, a0, lam):
    out = np.zeros((len(X), V.shape[1]))
    for u, x in enumerate(X):
        if x.any():
            A = a0 * V.T @ V + (V.T * x) @ V + lam * (x.sum() + a0 * len(V)) * np.eye(V.shape[1])
            out[u] = np.linalg.solve(A, V.T @ x)
    return out


def ials(X, a0, lam):
    rng = Rng(SEED)
    V = np.array([[.1 / math.sqrt(DIM) * rng.normal() for _ in range(DIM)] for _ in range(ITEMS)])
    V[~X.any(0)] = 0
    for _ in range(ROUNDS):
        U = solve_rows(X, V, a0, lam)
        V = solve_rows(X.T, U, a0, lam)
    return U, V


def ridge(A, B):
    """The ridge of the least generalised cross-validation of those that src/train/train_map.c tries."""
    n, (Ac, Bc) = len(A), (A - A.mean(0), B - B.mean(0))
    largest, best = np.linalg.eigvalsh(Ac.T @ Ac)[-1], None
    for i in range(81):
        r = largest * 1e-7 * 10 ** (i * .1)
        M = np.linalg.solve(Ac.T @ Ac + r * np.eye(A.shape[1]), Ac.T)
        left = n - 1 - np.trace(Ac @ M)
        score = ((Bc - Ac @ (M @ Bc)) ** 2).sum() / left ** 2
        if left >= 1 + .01 * n and (best is None or score < best[0]):
            best = score, r, M @ Bc
    return best[1], best[2], B.mean(0) - A.mean(0) @ best[2]


def table(name, a):
    a = np.asarray(a, dtype=float).ravel()
    print(f"static const float {name}[{len(a)}] = {{")
    for k in range(0, len(a), 8):
        print("    " + ", ".join(f"{x:.7g}f" if "." in f"{x:.7g}" or "e" in f"{x:.7g}" else f"{x:.0f}.0f"
                                 for x in a[k:k + 8]) + ",")
    print("};")


def main():
    X = data()
    density = (X > 0).mean()
    print("/* Made by tests/golden/train_golden.py: what numpy says about a small matrix. See there. */")
    print("#ifndef U2I_TESTS_GOLDEN_TRAIN_GOLDEN_H\n#define U2I_TESTS_GOLDEN_TRAIN_GOLDEN_H\n\n/* clang-format off */")
    print(f"enum {{ GOLDEN_USERS = {USERS}, GOLDEN_ITEMS = {ITEMS}, GOLDEN_DIM = {DIM},")
    print(f"       GOLDEN_ROUNDS = {ROUNDS}, GOLDEN_SEED = {SEED} }};")
    table("golden_x", X)
    table("golden_ease", ease(X, 3.0))
    kept = X[:, (X > 0).sum(0) >= 2]
    table("golden_ease_default", ease(X, min(max(10 * (kept ** 2).sum() / kept.shape[1], 200), 2000)))
    a0 = min(12 * density, 1)
    U, V = ials(X, a0, .01)
    print(f"static const double golden_a0 = {float(a0)!r};")
    table("golden_ials_scores", U @ V.T)
    U0, V0 = ials(X, .05, .02)
    table("golden_ials_scores_weak", U0 @ V0.T)
    rng = Rng(3)
    A = np.float32([[rng.normal() + .5 for _ in range(6)] for _ in range(30)]).astype(float)
    W = np.array([[rng.normal() for _ in range(3)] for _ in range(6)])
    B = np.float32(A @ W + 2 + .8 * np.array([[rng.normal() for _ in range(3)] for _ in range(30)])).astype(float)
    r, w, b = ridge(A, B)
    table("golden_map_a", A)
    table("golden_map_b", B)
    print(f"static const double golden_ridge = {float(r)!r};")
    table("golden_map_w", w)
    table("golden_map_intercept", b)
    print("/* clang-format on */\n\n#endif")


if __name__ == "__main__":
    main()
