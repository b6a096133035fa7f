"""The benchmark's data, made once by script and kept in a cache folder (build/bench-data, or
U2I_BENCH_DATA): vectors, queries and exact answers as .npy files.

    text            90,000 x 384  MiniLM of real texts: package descriptions and dictionary glosses
    clustered300k  300,000 x 128  mixture of gaussians in 30 latent dimensions
    clustered1m  1,000,000 x 128  the same kind
    wide1m       1,000,000 x 384  the same kind
    text-quick, clustered-quick   small ones for QUICK=1

Each set S has S.base.npy, S.items.npy (1,000 vectors held out), S.users.npy (1,000 means of related
items, as a recommender asks) and S.items.truth.npy, S.users.truth.npy (the exact nearest 100 by inner
product; vectors are of unit length, so it is also the cosine). S.items.seen.npy and S.users.seen.npy
hold the nearest 1,100, for exclusion lists.

    python data.py [--threads N] SET...        makes the sets that are not there yet; can be stopped
                                               and started again
"""
import argparse
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

QUERIES = 1000
TRUTH = 100
SEEN = 1100
MAX_TOKENS = 64
WORDS = 28  # texts are cut behind the sentence that passes this
CHUNK = 2048  # texts embedded between two saves

SETS = {  # rows, dimensions, seed
    "text": (90_000, 384, 1),
    "text-quick": (8_000, 384, 2),
    "clustered300k": (300_000, 128, 3),
    "clustered1m": (1_000_000, 128, 4),
    "wide1m": (1_000_000, 384, 5),
    "clustered-quick": (40_000, 128, 6),
}


def cache_folder():
    root = Path(__file__).resolve().parents[2]
    folder = Path(os.environ.get("U2I_BENCH_DATA", root / "build" / "bench-data"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def progress(what, done, total, start):
    spent = time.monotonic() - start
    left = spent / done * (total - done) if done else 0
    bar = "#" * (30 * done // total)
    end = "\n" if done >= total else ""
    if sys.stderr.isatty() or done >= total or done % (total // 20 + 1) == 0:
        print(f"\r{what} [{bar:<30}] {done:,} of {total:,}, {left:4.0f} s left ", end=end,
              file=sys.stderr, flush=True)


def save(path, array):
    """Under a temporary name first, so that a file that is there is whole."""
    with open(f"{path}.tmp", "wb") as file:
        np.save(file, array)
    os.replace(f"{path}.tmp", path)


# ---- Texts ---------------------------------------------------------------------------------------


def run(*command, **options):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, **options).stdout


def package_lists(folder):
    """The distribution's package descriptions; apt's own settings stay as they are."""
    lists = folder / "apt" / "lists"
    found = sorted(lists.glob("*_main_i18n_Translation-en*"))
    if not found:
        (lists / "partial").mkdir(parents=True, exist_ok=True)
        run("apt-get", "update", "-q", "-o", "Acquire::Languages=en", "-o", f"Dir::State::lists={lists}",
            "-o", "APT::Sandbox::User=root")
        found = sorted(lists.glob("*_main_i18n_Translation-en*"))
    return [run("/usr/lib/apt/apt-helper", "cat-file", str(path)).decode() for path in found]


def cut_at_sentence(text, words):
    """The leading sentences of at most so many words; at least one sentence."""
    kept, count = [], 0
    for sentence in re.split(r"(?<=[.!?;])\s+", text):
        count += len(sentence.split())
        if kept and count > words:
            break
        kept.append(sentence)
    return " ".join(kept)


def package_texts(folder):
    for text in package_lists(folder):
        for stanza in text.split("\n\n"):
            match = re.search(r"^Description-en: (.*)\n((?: .*\n?)*)", stanza, re.M)
            if match is None:
                continue
            first = re.split(r"\n \.\n", match[2], maxsplit=1)[0]  # the first paragraph
            body = re.sub(r"\s+", " ", first).strip()
            yield cut_at_sentence(f"{match[1].strip()}. {body}", WORDS)


def gloss_texts(folder):
    wordnet = folder / "wordnet"
    if not (wordnet / "usr/share/wordnet/data.noun").exists():
        run("apt-get", "download", "-q", "wordnet-base", cwd=folder, stderr=subprocess.DEVNULL)
        package = sorted(folder.glob("wordnet-base_*.deb"))[-1]
        run("dpkg-deb", "-x", str(package), str(wordnet))
    for part in ("noun", "verb", "adj", "adv"):
        with open(wordnet / f"usr/share/wordnet/data.{part}", encoding="latin-1") as file:
            for line in file:
                if line.startswith("  "):
                    continue  # the licence
                data, _, gloss = line.partition(" | ")
                fields = data.split()
                names = fields[4 : 4 + 2 * int(fields[3], 16) : 2]
                words = ", ".join(name.replace("_", " ").split("(")[0] for name in names)
                yield cut_at_sentence(f"{words}: {gloss.strip()}", WORDS)


def distinct(texts):
    return list(dict.fromkeys(text for text in texts if len(text) >= 20))


def passages(folder, count, quick):
    """So many texts in random order: all package descriptions, and glosses for the rest; for the
    quick set, short glosses only."""
    path = folder / ("passages-quick.txt" if quick else "passages.txt")
    if not path.exists():
        rng = np.random.default_rng(20)
        glosses = distinct(gloss_texts(folder))
        rng.shuffle(glosses)
        if quick:
            texts = [text for text in glosses if len(text.split()) <= 14]
        else:
            packages = distinct(package_texts(folder))
            texts = packages + glosses
            print(f"texts: {len(packages):,} package descriptions, {len(glosses):,} glosses")
        texts = texts[:count]
        rng.shuffle(texts)
        temporary = path.with_suffix(".tmp")
        temporary.write_text("\n".join(texts), encoding="utf-8")
        os.replace(temporary, path)
    texts = path.read_text(encoding="utf-8").split("\n")
    if len(texts) < count:
        sys.exit(f"only {len(texts):,} distinct texts of {count:,}: delete {path} and try again")
    return texts[:count]


def embed_texts(folder, name, count):
    texts = passages(folder, count, quick=name.endswith("quick"))
    chunks = folder / f"{name}.chunks"
    chunks.mkdir(exist_ok=True)
    from minilm import MiniLM

    model, start, parts, made = MiniLM(MAX_TOKENS), time.monotonic(), [], 0
    for at in range(0, count, CHUNK):
        path = chunks / f"{at:07d}.npy"
        if not path.exists():
            save(path, model.embed(texts[at : at + CHUNK]))
            made += 1
            left = sum(not (chunks / f"{i:07d}.npy").exists() for i in range(at, count, CHUNK))
            progress(f"embedding {name}", made, made + left, start)
        parts.append(np.load(path))
    return np.concatenate(parts)


# ---- Clusters ------------------------------------------------------------------------------------


def mixture(rows, dim, seed):
    """Points of a mixture of gaussians in 30 latent dimensions, mapped linearly into `dim`, with a
    little noise, of unit length. One cluster for each 300 rows, of unequal sizes and widths."""
    rng = np.random.default_rng(seed)
    clusters, latent = max(rows // 300, 8), 30
    centres = rng.standard_normal((clusters, latent), np.float32)
    widths = rng.uniform(0.3, 0.7, clusters).astype(np.float32)
    shares = rng.gamma(2.0, size=clusters)
    labels = rng.choice(clusters, rows, p=shares / shares.sum())
    into = rng.standard_normal((latent, dim), np.float32) / np.float32(np.sqrt(latent))
    out = np.empty((rows, dim), np.float32)
    for at in range(0, rows, 50_000):
        own = labels[at : at + 50_000]
        points = centres[own] + widths[own, None] * rng.standard_normal((len(own), latent), np.float32)
        x = points @ into
        x += np.float32(0.05) * rng.standard_normal(x.shape, np.float32)
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        out[at : at + len(own)] = x
    return out


# ---- Queries and exact answers -------------------------------------------------------------------


def exact(base, queries, k):
    """The k best rows of each query, best first, from single precision inner products."""
    import faiss

    return faiss.knn(queries, base, k, metric=faiss.METRIC_INNER_PRODUCT)[1].astype(np.int32)


def user_vectors(base, count, seed):
    """Means of 5 to 20 related items: a random item and some of its neighbours within a random fifth
    of the catalogue, the weights falling as an older taste's do."""
    rng = np.random.default_rng(seed + 1000)
    subset = rng.choice(len(base), min(len(base) // 5, 50_000), replace=False)
    some = base[subset]
    near = exact(some, some[rng.choice(len(some), count, replace=False)], 60)
    out = np.empty((count, base.shape[1]), np.float32)
    for i in range(count):
        n = int(rng.integers(5, 21))
        chosen = np.concatenate([near[i, :1], rng.choice(near[i, 1:], n - 1, replace=False)])
        weights = np.exp(-np.arange(n) * rng.uniform(0.02, 0.3)) * rng.uniform(0.5, 1.5, n)
        mean = weights.astype(np.float32) @ some[chosen]
        out[i] = mean / np.linalg.norm(mean)
    return out


def make(name):
    folder = cache_folder()
    rows, dim, seed = SETS[name]
    files = {what: folder / f"{name}.{what}.npy" for what in
             ("base", "items", "users", "items.seen", "users.seen", "items.truth", "users.truth")}
    if all(path.exists() for path in files.values()):
        return
    start = time.monotonic()
    if not files["base"].exists():
        count = rows + QUERIES
        vectors = embed_texts(folder, name, count) if dim == 384 and rows < 500_000 else mixture(count, dim, seed)
        save(files["items"], vectors[:QUERIES])
        save(files["base"], vectors[QUERIES:])
    base = np.load(files["base"])
    if not files["users"].exists():
        save(files["users"], user_vectors(base, QUERIES, seed))
    for kind in ("items", "users"):
        seen = exact(base, np.load(files[kind]), SEEN)
        save(files[kind + ".seen"], seen)
        save(files[kind + ".truth"], seen[:, :TRUTH])
    print(f"{name}: {rows:,} x {dim}, made in {time.monotonic() - start:.0f} s", flush=True)


def load(name):
    """The set's arrays by name; made first if they are not there."""
    make(name)
    folder = cache_folder()
    return {what: np.load(folder / f"{name}.{what}.npy", mmap_mode="r")
            for what in ("base", "items", "users", "items.seen", "users.seen", "items.truth", "users.truth")}


def main():
    parser = argparse.ArgumentParser(description="makes the benchmark's data")
    parser.add_argument("--threads", type=int, help="threads of the matrix products (default: all)")
    parser.add_argument("sets", nargs="*", default=["text", "clustered300k", "clustered1m", "wide1m"])
    arguments = parser.parse_args()
    for name in arguments.sets:
        if name not in SETS:
            parser.error(f"no set {name!r}: one of {', '.join(SETS)}")
        make(name)
    return 0


if __name__ == "__main__":
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        if "--threads" in sys.argv and variable not in os.environ:
            os.environ[variable] = sys.argv[sys.argv.index("--threads") + 1]
            os.execv(sys.executable, [sys.executable, *sys.argv])  # BLAS reads it when it is loaded
    sys.exit(main())
