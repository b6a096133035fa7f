#!/usr/bin/env python3
"""Our tokenizer against the one it copies: the same ids for random texts?

usage: tokenizer_parity.py BENCH_TOKENIZER VOCAB.txt [--n 20000] [--seed 1] [--make-vocab]
                                                                       (pip install tokenizers==0.22.2)

Texts of several kinds: any code points, marks in all orders, words of the vocabulary glued together,
special tokens, lengths about the limit of a word, characters that the versions of Unicode disagree
about. With lower case and without. --make-vocab writes VOCAB.txt first: every character up to U+2FFFF
is a token in it, so that ids show the whole normalised text where BERT's vocabulary has [UNK]. Prints the first differences; exit status 1 if there are any."""
import argparse
import json
import random
import subprocess
import sys
import unicodedata

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
BLOCKS = [(0x20, 0x7F), (0xA0, 0x250), (0x250, 0x600), (0x600, 0xE00), (0xE00, 0x1200), (0x1AB0, 0x1B00),
          (0x1D00, 0x2100), (0x2000, 0x2070), (0x2E80, 0x3100), (0x3400, 0xA000), (0xA640, 0xAC00),
          (0xAC00, 0xD7A4), (0xF900, 0x10000), (0x10000, 0x12000), (0x16000, 0x17000),
          (0x1D100, 0x1D200), (0x1E000, 0x1EA00), (0x1F300, 0x1FA00), (0x20000, 0x30000),
          (0xE0000, 0xE0200)]


def make_vocab(path):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.writelines(t + "\n" for t in SPECIAL)
        for c in map(chr, range(0x21, 0x30000)):
            if not 0xD800 <= ord(c) < 0xE000 and not c.isspace():
                f.write(f"{c}\n##{c}\n")


def reference(vocab, lower_case):
    tokenizer = Tokenizer(WordPiece.from_file(vocab, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=lower_case)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens([t for t in SPECIAL if tokenizer.token_to_id(t) is not None])
    ends = [(t, tokenizer.token_to_id(t)) for t in ("[SEP]", "[CLS]")]
    tokenizer.post_processor = processors.BertProcessing(*ends)
    return tokenizer


class Texts:
    def __init__(self, seed, vocab):
        self.rng = random.Random(seed)
        self.marks = [chr(c) for c in range(0x300, 0x1EA00)
                      if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c))[0] == "M"]
        self.decomposed = [chr(c) for c in range(0xC0, 0x2FA20) if unicodedata.decomposition(chr(c))
                           and "<" not in unicodedata.decomposition(chr(c))]
        with open(vocab, encoding="utf-8") as f:
            self.tokens = [line.rstrip("\n").removeprefix("##") for line in f]

    def block(self):
        first, end = self.rng.choice(BLOCKS)
        return chr(self.rng.randrange(first, end))

    def anything(self):
        c = self.rng.randrange(0x110000 - 0x800)
        return chr(c if c < 0xD800 else c + 0x800)

    def piece(self):
        rng = self.rng
        return rng.choice([
            lambda: rng.choice(self.tokens), lambda: rng.choice(self.tokens).upper(), self.block,
            self.anything, lambda: rng.choice(self.decomposed), lambda: rng.choice(SPECIAL),
            lambda: "".join(rng.choices(self.marks, k=rng.randrange(1, 6))),
            lambda: rng.choice("aé中 \t\u3000.,#[]\u200b\u034f\ufffd\0\x85\u00ad"),
            lambda: rng.choice("abé\u0344가\u1dfb") * rng.choice([1, 2, 33, 49, 50, 51, 99, 100, 101])])()

    def text(self):
        kind, n = self.rng.randrange(4), self.rng.randrange(1, 20)
        if kind == 0:
            return "".join(self.anything() for _ in range(n))
        if kind == 1:
            return "a" + "".join(self.rng.choices(self.marks, k=n)) + "b"
        glue = "" if kind == 2 else " "
        return glue.join(self.piece() for _ in range(n))


def ours(program, vocab, texts, lower_case):
    command = [program, vocab] + ([] if lower_case else ["--cased"])
    lines = "".join(json.dumps(t) + "\n" for t in texts)
    out = subprocess.run(command, input=lines, capture_output=True, text=True, check=True).stdout
    return [[int(i) for i in line.split()] for line in out.splitlines()]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("vocab")
    parser.add_argument("--n", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--make-vocab", action="store_true")
    args = parser.parse_args()
    if args.make_vocab:
        make_vocab(args.vocab)
    make = Texts(args.seed, args.vocab)
    texts = [make.text() for _ in range(args.n)]
    wrong = 0
    for lower_case in (True, False):
        tokenizer = reference(args.vocab, lower_case)
        want = [e.ids for e in tokenizer.encode_batch(texts)]
        got = ours(args.program, args.vocab, texts, lower_case)
        bad = [i for i in range(len(texts)) if got[i] != want[i]]
        wrong += len(bad)
        for i in bad[:5]:
            print(f"{ascii(texts[i])}\n  ours {got[i]}\n  want {want[i]}")
        print(f"{'lower case' if lower_case else 'cased'}: {len(texts) - len(bad)} of {len(texts)} the same,"
              f" {sum(map(len, want))} ids")
    return wrong > 0


if __name__ == "__main__":
    sys.exit(main())
