#!/usr/bin/env python3
"""Writes embed/: a small BERT as sentence-transformers saves it, with weights at random, and what sentence-transformers makes of
a few texts with it. tests/unit/test_embed_golden.c wants the same of u2i.

usage: make_embed_golden.py     (needs bench/compare/requirements-embed.txt; build/bench-embed-venv has it)

embed/model         the folder; pooling by mean
embed/vectors.jsonl {"text", "mean", "cls"}: unit vectors with that pooling. "cls" is of the same model with 1_Pooling/config.json
                    as bge has it, which the test writes
"""
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
from transformers import BertConfig, BertModel, BertTokenizerFast

OUT = Path(__file__).resolve().parent / "embed"
WORDS = """a an the of and to in on is it was with for robot robots love learns learn film films man men woman story night day
city war sea blue red old new good bad great little big music life death king ghost house time world girl boy dog cat""".split()
PIECES = "s ed ing er est ly ness ful ment tion y".split()
CHINESE = "一个机器人学会了爱的故事夜城大小新旧好坏人生音乐电影"
TOKENS_MAX = 24
TEXTS = [
    "a robot learns to love", "The Robots' Love-Story", "robot", "love", "x", "1995", "Story of a night (1995)",
    "THE OLD MAN AND THE SEA", "ghost, house; time: world!", "girl&boy", "little dogs and bigger cats",
    "Amélie, naïve café", "Ünïcödé", "一个机器人学会了爱的故事", "电影 film 音乐", "机器人robot机器人", "新旧好坏 2001",
    "unknown wörds: ζ ж あ 한", "emoji \U0001f600 between", "tabs\tand\nlines", "   spaces   ", "loveliness lovingly lovers", "...",
    "a" * 120, "the blue sea " * 20, "爱" * 40, "a the of and to in on is it was with for robot robots love learns learn",
]


def vocabulary():
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *("##" + c for c in letters), *".,:;!?()'-&", *WORDS,
              *("##" + p for p in PIECES), *CHINESE]
    return list(dict.fromkeys(tokens))


def weights(model):
    """From numpy's generator, whose numbers are promised never to change."""
    rng = np.random.RandomState(1)
    with torch.no_grad():
        for name, tensor in model.named_parameters():
            noise = torch.from_numpy(rng.standard_normal(tensor.shape).astype("f4"))
            norm = name.endswith("LayerNorm.weight")
            tensor.copy_(1 + 0.1 * noise if norm else noise if "embeddings." in name and noise.dim() > 1 else 0.15 * noise)


def transformer(scratch):
    """The parts that sentence-transformers puts together, from a folder as transformers saves it."""
    tokens = vocabulary()
    (scratch / "vocab.txt").write_text("".join(t + "\n" for t in tokens), encoding="utf-8")
    BertTokenizerFast(vocab={t: i for i, t in enumerate(tokens)}, do_lower_case=True).save_pretrained(scratch)
    model = BertModel(BertConfig(vocab_size=len(tokens), hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
                                 intermediate_size=64, max_position_embeddings=48))
    weights(model)
    model.save_pretrained(scratch)
    return Transformer(str(scratch), max_seq_length=TOKENS_MAX)


def main():
    vectors = {}
    shutil.rmtree(OUT / "model", ignore_errors=True)
    with tempfile.TemporaryDirectory() as scratch:
        first = transformer(Path(scratch))
        for mode in ("mean", "cls"):
            whole = SentenceTransformer(modules=[first, Pooling(32, pooling_mode=mode), Normalize()], device="cpu")
            vectors[mode] = whole.encode(TEXTS)
            if mode == "mean":
                whole.save(str(OUT / "model"), create_model_card=False)
    with open(OUT / "vectors.jsonl", "w", encoding="utf-8") as f:
        for text, mean, cls in zip(TEXTS, vectors["mean"], vectors["cls"]):
            f.write(json.dumps({"text": text, **{name: [float(f"{x:.8f}") for x in v] for name, v in
                                                 (("mean", mean), ("cls", cls))}}, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    main()
