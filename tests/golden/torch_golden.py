#!/usr/bin/env python3
"""Writes the files of torch.save() that tests/unit/test_torch_file.c reads: torch_tiny.bin, the tiny BERT of
tests/model_folder.h as a state dict with its metadata; torch_kinds.bin, tensors of many kinds; torch_old.bin, the format of
torch before 1.6. Bytes of weights come from that header's formula. Written with torch 2.15.0.

usage: torch_golden.py FOLDER
"""
import collections
import math
import pathlib
import sys

import torch

HIDDEN, LAYERS, WIDE, VOCAB, POSITIONS, TYPES = 8, 2, 16, 11, 12, 2


def filled(kind, *shape):
    """Bytes 0, 1, ... 96, 0, ..., the highest of each value 0x3c."""
    size = kind.itemsize
    data = bytes(0x3C if i % size == size - 1 else i % 97 for i in range(math.prod(shape) * size))
    return torch.frombuffer(bytearray(data), dtype=kind).reshape(shape).clone()


def linear(tensors, name, out, within=None):
    tensors[name + ".weight"] = filled(torch.float32, *((out, within) if within else (out,)))
    tensors[name + ".bias"] = filled(torch.float32, out)


def tiny():
    t = collections.OrderedDict()
    t["embeddings.position_ids"] = torch.arange(POSITIONS).expand((1, -1))
    for name, rows in (("word", VOCAB), ("position", POSITIONS), ("token_type", TYPES)):
        t[f"embeddings.{name}_embeddings.weight"] = filled(torch.float32, rows, HIDDEN)
    linear(t, "embeddings.LayerNorm", HIDDEN)
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        for part in ("query", "key", "value"):
            linear(t, f"{layer}attention.self.{part}", HIDDEN, HIDDEN)
        linear(t, layer + "attention.output.dense", HIDDEN, HIDDEN)
        linear(t, layer + "attention.output.LayerNorm", HIDDEN)
        linear(t, layer + "intermediate.dense", WIDE, HIDDEN)
        linear(t, layer + "output.dense", HIDDEN, WIDE)
        linear(t, layer + "output.LayerNorm", HIDDEN)
    t._metadata = collections.OrderedDict({"": {"version": 1}, "embeddings": {"version": 1}})
    return t


def kinds():
    matrix = filled(torch.float32, 2, 3)
    return {
        "f32": matrix,
        "tied": matrix,
        "row": matrix[1],
        "f16": filled(torch.float16, 3),
        "parameter": torch.nn.Parameter(filled(torch.bfloat16, 2)),
        "scalar": filled(torch.float32),
        "empty": torch.empty(0, 7),
        "deep": filled(torch.float32, 1, 1, 1, 1, 2),
        "ids": torch.arange(4),
        "flags": torch.tensor([True, False]),
        "f64": torch.zeros(2, dtype=torch.float64),
        "epoch": 7,
        "name": "no tensor",
        "large": 1 << 40,
        "negative": -1,
        "nested": {"f32": matrix},
    }


def main():
    folder = pathlib.Path(sys.argv[1])
    torch.save(tiny(), folder / "torch_tiny.bin")
    torch.save(kinds(), folder / "torch_kinds.bin")
    torch.save({"a": torch.zeros(1)}, folder / "torch_old.bin", _use_new_zipfile_serialization=False)


main()
