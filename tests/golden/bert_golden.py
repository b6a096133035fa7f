#!/usr/bin/env python3
"""Writes bert_golden.h: what numpy, in double precision and without a thought for speed, makes of a few texts with
a small BERT whose weights come from a formula. tests/unit/test_embed_bert.c makes the same weights.

usage: bert_golden.py > bert_golden.h
"""
import math

import numpy as np

HIDDEN, LAYERS, HEADS, WIDE, VOCAB, POSITIONS, TYPES = 24, 3, 4, 40, 40, 16, 2
EPS = 1e-12
TEXTS = [
    [2, 10, 3],
    [2, 5, 6, 7, 8, 3],
    [2, 39, 1, 39, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 3],
]
state = 12345


def uniform():
    """-0.5 up to 0.5, as a float."""
    global state
    state = (state * 1664525 + 1013904223) % 2**32
    return np.float32((state >> 8) / 2**24 - 0.5)


def tensor(*shape):
    n = math.prod(shape)
    return np.array([uniform() for _ in range(n)], dtype=np.float64).reshape(shape)


def norm_weights():
    return 1 + 0.2 * tensor(HIDDEN), 0.1 * tensor(HIDDEN)


def linear(n, k):
    return 0.5 * tensor(n, k), 0.1 * tensor(n)


def norm(x, weights):
    gamma, beta = weights
    mean = x.mean(axis=1, keepdims=True)
    variance = ((x - mean) ** 2).mean(axis=1, keepdims=True)
    return (x - mean) / np.sqrt(variance + EPS) * gamma + beta


def apply(x, weights):
    w, b = weights
    return x @ w.T + b


def softmax(x):
    e = np.exp(x - x.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def gelu(x):
    return x * 0.5 * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


words, positions, types, first = tensor(VOCAB, HIDDEN), tensor(POSITIONS, HIDDEN), tensor(TYPES, HIDDEN), norm_weights()
layers = [
    dict(
        query=linear(HIDDEN, HIDDEN),
        key=linear(HIDDEN, HIDDEN),
        value=linear(HIDDEN, HIDDEN),
        mix=linear(HIDDEN, HIDDEN),
        after_attention=norm_weights(),
        up=linear(WIDE, HIDDEN),
        down=linear(HIDDEN, WIDE),
        after_all=norm_weights(),
    )
    for _ in range(LAYERS)
]


def run(ids):
    x = norm(words[ids] + positions[: len(ids)] + types[0], first)
    for layer in layers:
        q, k, v = (apply(x, layer[name]) for name in ("query", "key", "value"))
        heads = []
        for h in range(HEADS):
            part = slice(h * HIDDEN // HEADS, (h + 1) * HIDDEN // HEADS)
            heads.append(softmax(q[:, part] @ k[:, part].T / math.sqrt(HIDDEN // HEADS)) @ v[:, part])
        x = norm(x + apply(np.concatenate(heads, axis=1), layer["mix"]), layer["after_attention"])
        x = norm(x + apply(gelu(apply(x, layer["up"])), layer["down"]), layer["after_all"])
    return x


def unit(v):
    return v / np.linalg.norm(v)


def show(name, rows):
    print(f"static const float {name}[{len(rows)}][{HIDDEN}] = {{")
    for row in rows:
        print("    {" + ", ".join(f"{value:.9g}f" for value in row) + "},")
    print("};")


print("/* Made by tests/golden/bert_golden.py: what numpy makes of three texts with a small BERT. See there. */")
print("/* clang-format off */")
show("golden_mean", [unit(run(ids).mean(axis=0)) for ids in TEXTS])
show("golden_cls", [unit(run(ids)[0]) for ids in TEXTS])
print("/* clang-format on */")
