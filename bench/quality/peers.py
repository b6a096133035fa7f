"""The recommenders that u2i is measured against, each as its authors publish it and with a small grid of settings.

The best setting of a grid is picked on the very users it is judged on, so peers are flattered; u2i runs with its
defaults. Nothing here knows of u2i. A method is a function (split) -> iterator of (setting, scores), where scores is a
matrix of test users x items, higher is better; what a user has already touched is taken out by rank().
"""
import csv
import gzip
import os
import re
import zlib

import numpy as np
from scipy import linalg, sparse
from threadpoolctl import threadpool_limits

WEAK = {"view", "click", "impression", "open"}
NEGATIVE = {"dislike", "return", "refund", "skip", "remove", "hide"}
DAY = 86400.0
LISTED = 100


# ---- Data --------------------------------------------------------------------------------------

def table(path, columns):
    """The named columns of a CSV file, plain or gzipped; nothing where there is no such file."""
    path = next((p for p in (path, path + ".gz") if os.path.exists(p)), None)
    if path is None:
        return []
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", newline="", encoding="utf-8") as f:
        return [tuple(r.get(c) or "" for c in columns) for r in csv.DictReader(f)]


class Split:
    """A split as numbers. Test users are rows, items of the catalogue columns."""

    def __init__(self, folder, items):
        at = lambda name: os.path.join(folder, name)
        self.items = table(items, ("id", "title", "category"))
        self.item_no = {it[0]: k for k, it in enumerate(self.items)}
        self.n = len(self.items)
        self.cold = np.array([self.item_no[c] for c, in table(at("cold_items.csv"), ("item",))], int)
        self.now = float(open(at("T.txt")).read()) if os.path.exists(at("T.txt")) else None
        train, _ = self.events(at("train.csv"), {})
        self.u, self.i, self.a, self.t = train
        self.views = (0, .4) if (self.a == 1).any() else (0,)  # what a mere view is worth
        users = {}
        for user, _ in table(at("heldout.csv"), ("user", "item")):
            users.setdefault(user, len(users))
        self.warm = len(users)
        for user, _ in table(at("heldout_cold.csv"), ("user", "item")):
            users.setdefault(user, len(users))
        self.users = list(users)
        (self.hu, self.hi, self.ha, self.ht), _ = self.events(at("history.csv"), users, known_only=True)
        end = self.t.max() + 1
        newest = np.zeros(len(users))
        np.maximum.at(newest, self.hu, self.ht)
        pairs = self.hu * self.n + self.hi
        self.repeats = (False, True) if len(np.unique(pairs)) < len(pairs) else (False,)  # worth trying both?
        self.asked = np.where(newest > 0, newest, end) if self.now is None else np.full(len(users), self.now)

    def events(self, path, numbers, known_only=False):
        """Columns user, item, kind (2 wanted, 1 weak, 0 negative), time. If only weak actions exist, they are wanted."""
        rows = [r for r in table(path, ("user", "item", "action", "timestamp"))
                if r[1] in self.item_no and (not known_only or r[0] in numbers)]
        kind = np.array([0 if r[2] in NEGATIVE else 1 if r[2] in WEAK else 2 for r in rows], int)
        if not (kind == 2).any():
            kind[kind == 1] = 2
        return (np.array([numbers.setdefault(r[0], len(numbers)) for r in rows], int),
                np.array([self.item_no[r[1]] for r in rows], int), kind,
                np.array([float(r[3]) for r in rows])), numbers

    def matrix(self, weak):
        """Training users x items: 1 where the item was wanted, `weak` where it was only looked at."""
        worth = np.array([0, weak, 1], "f4")[self.a]
        m = sparse.csr_matrix((worth, (self.u, self.i)), shape=(self.u.max() + 1, self.n))
        return largest(m, self.u, self.i, worth)

    def profile(self, weak, repeats=False):
        worth = np.array([0, weak, 1], "f4")[self.ha]
        shape = (len(self.users), self.n)
        if repeats:  # a repeated purchase counts again
            return sparse.csr_matrix((worth, (self.hu, self.hi)), shape=shape)
        return largest(sparse.csr_matrix(shape, dtype="f4"), self.hu, self.hi, worth)


def largest(like, u, i, worth):
    """One entry per pair, its largest worth; zeros left out."""
    o = np.lexsort((-worth, i, u))
    o = o[worth[o] > 0]
    new = np.append(True, (u[o][1:] != u[o][:-1]) | (i[o][1:] != i[o][:-1])) if len(o) else np.zeros(0, bool)
    o = o[new]
    return sparse.csr_matrix((worth[o].astype("f4"), (u[o], i[o])), shape=like.shape, dtype="f4")


def rank(split, scores):
    """The judge's rows: the LISTED best items of each user, without what was touched and, with cold items, only those."""
    scores = np.array(scores, "f4")
    allowed = np.zeros(split.n, bool)
    allowed[split.cold if len(split.cold) else slice(None)] = True
    scores[:, ~allowed] = -np.inf
    scores[split.hu, split.hi] = -np.inf
    rng = np.random.RandomState(7)
    order = rng.permutation(split.n)  # ties are broken at random, the same way each time
    best = order[np.argsort(-scores[:, order], axis=1, kind="stable")[:, :LISTED]]
    for u, row in enumerate(best):
        for r, i in enumerate(row[np.isfinite(scores[u, row])]):
            yield split.users[u], split.items[i][0], r + 1


# ---- Popularity --------------------------------------------------------------------------------

def random(split):
    yield "", np.random.RandomState(1).rand(len(split.users), split.n)


def popularity(split):
    for weak in split.views:
        count = np.asarray(split.matrix(weak).sum(0)).ravel()
        yield f"views {weak}", np.tile(count, (len(split.users), 1))


def recent_popularity(split):
    """Events that halve every half-life, as of the question (or, where better, of the end of the log)."""
    wanted = split.a == 2
    i, t = split.i[wanted], split.t[wanted]
    for days in (7, 14, 30, 60, 90, 180, 365, 730):
        for end in ((False,) if split.now is not None else (False, True)):
            scores = np.zeros((len(split.users), split.n), "f4")
            times = np.full(len(split.users), t.max()) if end else split.asked
            for at in np.unique(times):
                past = t < at if not end else slice(None)
                w = .5 ** ((at - t[past]) / DAY / days)
                scores[times == at] = np.bincount(i[past], w, split.n)
            yield f"half-life {days} d{' of the whole log' if end else ''}", scores


# ---- Content -----------------------------------------------------------------------------------

def content(items, dims=1 << 18):
    """Unit vectors of title and category: hashed words and, lighter, 3- to 5-grams of characters; TF-IDF."""
    unit = lambda E: sparse.diags(1 / np.maximum(np.sqrt(np.asarray(E.multiply(E).sum(1)).ravel()), 1e-9)) @ E
    fields = []
    for f in (1, 2):
        row, col, val = [], [], []
        for k, it in enumerate(items):
            for x in (f" {x} " for x in re.findall(r"\w+", it[f].lower())):
                grams = [x[a:a + n] for n in (3, 4, 5) for a in range(len(x) - n + 1)]
                row += [k] * (len(grams) + 1)
                col += [zlib.crc32(g.encode()) % dims for g in [x[1:-1]] + grams]
                val += [1.0] + [.3 / len(grams) ** .5] * len(grams)
        E = sparse.csr_matrix((val, (row, col)), shape=(len(items), dims), dtype="f4")
        idf = np.log((1 + len(items)) / (1 + np.bincount(E.indices, minlength=dims))).astype("f4")
        fields.append(unit(E @ sparse.diags(idf)))
    return unit(sparse.hstack(fields).tocsr())


def decayed(split, decay=.9, weights=(0, 1, 2.5)):
    """The reference's profile: decay^rank by time, newest first, equal times in random order; action weights."""
    o = np.lexsort((np.random.RandomState(5).rand(len(split.hu)), -split.ht, split.hu))
    u = split.hu[o]
    first = np.searchsorted(u, u)
    w = np.array(weights, "f4")[split.ha[o]] * decay ** (np.arange(len(u)) - first)
    return sparse.csr_matrix((w.astype("f4"), (u, split.hi[o])), shape=(len(split.users), split.n))


def seed_method(split):
    """The reference implementation: mean of the searched items' text vectors, 0.9^i, cosine."""
    E = content(split.items)
    for dislike in (0, -2):
        H = decayed(split, weights=(dislike, 1, 2.5))
        yield f"dislike {dislike}", (H @ E @ E.T).toarray()


def centred_content(split):
    E = content(split.items)
    mean = np.asarray(E.mean(0)).ravel()
    for name, H in (("0.9^i", decayed(split)), ("flat", split.profile(.4))):
        yield name, (H @ E @ E.T).toarray() - np.asarray(H.sum(1)) * np.asarray(E @ mean).ravel()[None]


# ---- Collaborative -----------------------------------------------------------------------------

def item_knn(split):
    """Cosine between items with a shrunk norm, the k best neighbours of each target."""
    for weak in split.views:
        X = split.matrix(weak)
        norm = np.sqrt(np.asarray(X.multiply(X).sum(0)).ravel())
        G = (X.T @ X).toarray()
        np.fill_diagonal(G, 0)
        G /= norm[:, None] * norm[None, :] + 20
        for k in (50, 100, 200):
            cut = np.partition(G, -k, axis=0)[-k]
            W = sparse.csr_matrix(np.where(G >= cut[None, :], G, 0))
            for repeats in split.repeats:
                yield f"k {k}, views {weak}{', repeats' if repeats else ''}", (split.profile(weak, repeats) @ W).toarray()


def ease_scores(X, profiles, lambdas):
    """EASE^R (Steck 2019): P = (X'X + lambda I)^-1, B = I - P / diag P, so H B = H - H P / diag P. Exact in both forms:
    with fewer users than items P = (I - X' (X X' + lambda I)^-1 X) / lambda (Woodbury), and no items x items is made."""
    X = X.toarray()
    few = X.shape[0] < X.shape[1] / 2
    G = X @ X.T if few else X.T @ X
    for lam in lambdas:
        A = G.copy()
        A[np.diag_indices_from(A)] += lam
        if few:
            S = linalg.solve(A, X, assume_a="pos")
            diagonal = (1 - (X * S).sum(0)) / lam
            products = [(H - (H @ X.T) @ S) / lam for H in profiles]
        else:
            P = linalg.lapack.spotri(linalg.lapack.spotrf(A, lower=1, overwrite_a=1)[0], lower=1, overwrite_c=1)[0]
            P = np.tril(P) + np.tril(P, -1).T
            diagonal, products = np.diag(P), [H @ P for H in profiles]
        yield lam, [H - HP / diagonal for H, HP in zip(profiles, products)]


def ease(split):
    """The whole matrix, on profiles in which a repeated item counts once, or again."""
    for weak in split.views:
        X = split.matrix(weak)
        keep = np.flatnonzero(np.diff(X.tocsc().indptr) >= 1)
        profiles = [split.profile(weak, r)[:, keep].toarray() for r in split.repeats]
        for lam, found in ease_scores(X[:, keep], profiles, (50, 100, 200, 500, 1000, 2000)):
            for repeats, kept in enumerate(found):
                scores = np.full((len(split.users), split.n), kept.min(), "f4")
                scores[:, keep] = kept
                yield f"lambda {lam}, views {weak}{', repeats' if repeats else ''}", scores


IALS_GRID = [(64, 1, 1), (64, 10, 1), (64, 20, 1), (64, 10, 5), (64, 50, 5), (128, 10, 1), (128, 50, 5)]


def implicit_als(X, d, reg, alpha, iterations=15):
    from implicit.cpu.als import AlternatingLeastSquares
    model = AlternatingLeastSquares(factors=d, regularization=reg, alpha=alpha, iterations=iterations, random_state=1)
    model.fit(X, show_progress=False)
    return model


def fold_in(model, H):
    """Users' factors from their histories, by implicit itself."""
    return np.vstack([model.recalculate_user(np.arange(a, min(a + 256, H.shape[0])), H[a:a + 256])
                      for a in range(0, H.shape[0], 256)])


def ials(split):
    """The package implicit: alternating least squares, users folded in from their history."""
    X, H = split.matrix(.4), split.profile(.4)
    with threadpool_limits(1, "blas"):  # as implicit asks for: it has threads of its own
        for d, reg, alpha in IALS_GRID:
            model = implicit_als(X, d, reg, alpha)
            yield f"d {d}, reg {reg}, alpha {alpha}", fold_in(model, H) @ model.item_factors.T


def cold_factors(split):
    """Cold items get the mean factors of the 5 items nearest by text; plus half of the centred content score."""
    X, E = split.matrix(.4), content(split.items)
    warm = np.flatnonzero(np.diff(X.tocsc().indptr) >= 5)
    near = np.argsort(-(E[split.cold] @ E[warm].T).toarray(), axis=1, kind="stable")[:, :5]
    H = split.profile(.4)
    mean = np.asarray(E.mean(0)).ravel()
    C = (H @ E @ E[split.cold].T).toarray() - np.asarray(H.sum(1)) * np.asarray(E[split.cold] @ mean).ravel()[None]
    unit = lambda S: S / (S.std(1, keepdims=True) + 1e-9)
    for d, reg, alpha in [(64, 1, 1), (64, 10, 1), (64, 10, 5), (64, 50, 5)]:
        with threadpool_limits(1, "blas"):
            model = implicit_als(X, d, reg, alpha)
            V, folded = model.item_factors[warm[near]].mean(1), fold_in(model, H)
        for share in (0, .5, 1):
            scores = np.zeros((len(split.users), split.n), "f4")
            scores[:, split.cold] = unit(folded @ V.T) + share * unit(C)
            yield f"d {d}, reg {reg}, alpha {alpha}, content {share}", scores


WARM = {"popularity": popularity, "recent popularity": recent_popularity, "seed method": seed_method,
        "item-kNN": item_knn, "iALS (implicit)": ials, "EASE": ease}
STRANGERS = {"popularity": popularity, "recent popularity": recent_popularity}
COLD = {"random": random, "seed method": seed_method, "centred content": centred_content,
        "iALS, 5 nearest texts": cold_factors}
