"""What vectors of text are good for: films of the same genres, films that nobody has seen yet, titles with a mistake in them.

The judge and the splits are those of bench/quality. Vectors come from bench_embed, so all embedders are asked in the same way:
- genres: of 2,000 films, the ten nearest by title alone; the mean overlap (Jaccard) of their genres with the film's. Among titles, and
  among items (title and category).
- cold: NDCG@10 of ml-latest-small P4, whose items have no events: cosine of the mean of what a user wanted, and of all items less their
  mean (bench/quality/peers.py, centred_content: the better of its two profiles on these users).
- typo: a text in which two letters of its longest word are exchanged is searched among all texts; mean reciprocal rank. Of films
  (titles, searched without the year), and of texts in other scripts (the tokenizer's golden cases without a Latin letter).
- eval: what `u2i eval` says of the same cold items, with its content vectors alone and as it does by default.
"""
import json
import os
import re
import subprocess
import sys
import tempfile
import unicodedata

import numpy as np

import embed_texts
from embed_engines import ROOT, Engine, bench_embed, say, u2i

QUALITY = ROOT / "bench" / "quality"
sys.path.insert(0, str(QUALITY))
import evaluate  # noqa: E402
import peers as judged  # noqa: E402  (those of bench/quality)

YEAR = re.compile(r" \(\d{4}\)$")
SPLITS = ("p4-fold0", "p4-fold1")
ITEMS = ROOT / "data" / "ml-latest-small" / "items.csv.gz"


# ---- Measures: each takes embed(list of texts) -> unit vectors ----------------------------------------------

def ranks(queries, corpus, want):
    """The rank of row want[i] of the corpus for query i, from 1; equals count half."""
    out = []
    for at in range(0, len(queries), 500):
        scores = queries[at:at + 500] @ corpus.T
        own = scores[np.arange(len(scores)), want[at:at + 500]][:, None]
        out.append(1 + (scores > own + 1e-7).sum(1) + ((abs(scores - own) <= 1e-7).sum(1) - 1) / 2)
    return np.concatenate(out)


def overlap(queries, corpus, genres, films):
    shares = []
    for at in range(0, len(films), 500):
        some = films[at:at + 500]
        scores = queries[some] @ corpus.T
        scores[np.arange(len(some)), some] = -np.inf
        for film, near in zip(some, np.argpartition(-scores, 10, axis=1)[:, :10]):
            both, either = (f(genres[film], genres[near]).sum(1) for f in (np.minimum, np.maximum))
            shares.append((both / np.maximum(either, 1)).mean())
    return float(np.mean(shares))


def measure_genres(embed):
    items = embed_texts.items()
    words = sorted({g for it in items for g in it["category"].split()})
    genres = np.array([[g in it["category"].split() for g in words] for it in items], float)
    films = np.random.RandomState(0).permutation(len(items))[:2000]
    titles = embed([{"title": it["title"]} for it in items])
    whole = embed([{"title": it["title"], "category": it["category"]} for it in items])
    return overlap(titles, titles, genres, films), overlap(titles, whole, genres, films)


def measure_cold(embed):
    users = []
    items = embed([{"title": it["title"], "category": it["category"]} for it in embed_texts.items()])
    mean = items.mean(0)
    for name in SPLITS:
        folder = QUALITY / "splits" / f"ml-latest-small-{name}"
        split = judged.Split(str(folder), str(ITEMS))
        scores = {}
        for profile, wanted in (("0.9^i", judged.decayed(split)), ("flat", split.profile(.4))):
            value = (wanted @ items) @ items.T - np.asarray(wanted.sum(1)) * (items @ mean)[None]
            with tempfile.TemporaryDirectory() as scratch:
                path = os.path.join(scratch, "answers.csv")
                with open(path, "w", encoding="utf-8") as f:
                    f.write("user,item,rank\n")
                    f.writelines(f"{u},{i},{r}\n" for u, i, r in judged.rank(split, value))
                found = evaluate.judge(str(folder / "heldout.csv.gz"), path, str(folder / "cold_items.csv.gz"))
            scores[profile] = np.array(list(found.values()))[:, 0]
        users.append(scores)
    return max(float(np.concatenate([u[p] for u in users]).mean()) for p in users[0])


def exchange(text, rng):
    """Two neighbouring, different letters of the longest word change places; None where there are none."""
    words = text.split()
    at = max(range(len(words)), key=lambda i: len(words[i]), default=None)
    if at is None:
        return None
    word = words[at]
    places = [i for i in range(len(word) - 1) if word[i] != word[i + 1] and word[i].isalpha() and word[i + 1].isalpha()]
    if not places:
        return None
    i = places[rng.randint(len(places))]
    words[at] = word[:i] + word[i + 1] + word[i] + word[i + 2:]
    return " ".join(words)


def latin(text):
    return any("LATIN" in unicodedata.name(c, "") for c in text)


def typo_texts(texts, n):
    rng = np.random.RandomState(3)
    chosen = rng.permutation(len(texts))[:n]
    pairs = [(i, exchange(texts[i], rng)) for i in chosen]
    return [p for p in pairs if p[1] is not None]


def measure_typos(embed):
    films = [it["title"] for it in embed_texts.items()]
    spoken = [YEAR.sub("", title) for title in films]
    foreign = [t for t in dict.fromkeys(embed_texts.cases()) if not latin(t) and "\0" not in t and 5 < len(t) < 200
               and sum(c.isalpha() for c in t) > 4]
    out = []
    for texts, asked in ((films, spoken), (foreign, foreign)):
        pairs = typo_texts(asked, 1000)
        corpus = embed([{"title": t} for t in texts])
        queries = embed([{"title": t} for _, t in pairs])
        out.append(float((1 / ranks(queries, corpus, np.array([i for i, _ in pairs]))).mean()))
    return out


# ---- Embedders ---------------------------------------------------------------------------------

class Vectors:
    """An engine as a function from texts to vectors; the same texts are embedded once."""

    def __init__(self, engine, work):
        self.engine, self.work, self.known = engine, work, {}

    def __call__(self, texts):
        key = json.dumps(texts)
        if key not in self.known:
            path = embed_texts.write(self.work / "some.jsonl", texts)
            answer = self.engine.ask("vectors", path, self.work / "vectors.f32")
            self.known[key] = np.fromfile(self.work / "vectors.f32", "<f4").reshape(-1, answer["dim"]).astype(np.float64)
        return self.known[key]


def evaluated(model):
    """NDCG@10 of `u2i eval` with content vectors alone, and by default."""
    command = [str(ROOT / "build" / "release" / "u2i"), "eval", "--items", str(ITEMS), "--json", "--samples", "1",
               "--model", str(model), "-v", "content: train=no", "-v", "default:"]
    for name in SPLITS:
        command += ["--split", str(QUALITY / "splits" / f"ml-latest-small-{name}")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    return {row["variant"]: row["ndcg10"] for row in rows if row.get("split") == "all"}


def measures(embed):
    titles, items = measure_genres(embed)
    films, foreign = measure_typos(embed)
    return {"genres": titles, "genres_items": items, "cold": measure_cold(embed), "typo": films, "typo_languages": foreign}


def run(model, work, quick):
    engines = [Engine("hash", [bench_embed(), "--model", "hash"]), u2i("MiniLM f32", model, "f32", work),
               u2i("MiniLM int8", model, "int8", work)]
    learnt = embed_texts.write(work / "films.jsonl", [{"title": it["title"], "category": it["category"]} for it in embed_texts.items()])
    found = {}
    print(f"\n{'what vectors are good for':28} {'genres':>7} {'- items':>8} {'cold':>7} {'typo':>7} {'- many':>7} {'eval':>7} {'- default':>9}")
    for engine in engines:
        say(f"  {engine.name}")
        engine.start()
        try:
            if engine.name == "hash":
                engine.ask("learn", learnt)
            row = measures(Vectors(engine, work))
        finally:
            engine.stop()
        if engine.name != "MiniLM int8" and not quick:  # u2i eval takes the precision that is chosen by itself
            row.update((f"eval_{k}", v) for k, v in evaluated("hash" if engine.name == "hash" else model).items())
        cells = [row.get(k) for k in ("genres", "genres_items", "cold", "typo", "typo_languages", "eval_content", "eval_default")]
        print(f"{engine.name:28}" + "".join(f" {c:7.4f}" if c is not None else f" {'-':>7}" for c in cells), flush=True)
        found.update((f"{engine.name.lower().replace(' ', '_')}_{k}", v) for k, v in row.items())
    return found
