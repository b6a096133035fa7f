"""The texts of bench-embed, all from files of this repository: films, and the tokenizer's golden cases in many languages."""
import csv
import gzip
import json
import random
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CASES = ["cases_en_uncased.jsonl.gz", "cases_zh.jsonl.gz"]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def items():
    with gzip.open(ROOT / "data" / "ml-latest-small" / "items.csv.gz", "rt", encoding="utf-8", newline="") as f:
        return list(csv.DictReader(f))


def titles():
    """ "title category" of all films, in random order."""
    texts = [f"{row['title']} {row['category']}" for row in items()]
    random.Random(1).shuffle(texts)
    return texts


def cases(names=CASES):
    for name in names:
        with gzip.open(ROOT / "tests" / "golden" / "tokenizer" / name, "rt", encoding="utf-8") as f:
            yield from (json.loads(line)["text"] for line in f)


def usable(tokenizer, text):
    """Texts that mean the same to all: u2i takes "[SEP]" in a text for text, the others for the token; a NUL ends a text in
    C; a text of no token has no vector in u2i."""
    return "\0" not in text and not any(s.lower() in text.lower() for s in SPECIAL) and len(tokenizer.encode(text).ids) > 2


def of_length(tokenizer, texts, tokens, n):
    """n pieces of the texts, one after the other, each of exactly so many tokens, [CLS] and [SEP] included."""
    found, rest = [], " ".join(texts)
    while rest and len(found) < n:
        # A token has some six letters: more is encoded than can be needed.
        encoded = tokenizer.encode(rest[:tokens * 40], add_special_tokens=False)
        if len(encoded.offsets) < tokens:
            break
        end = encoded.offsets[tokens - 3][1]
        piece, rest = rest[:end].strip(), rest[end:]
        if len(tokenizer.encode(piece).ids) == tokens:  # not if a word was cut, and its beginning has other tokens
            found.append(piece)
    return found


def mixed(tokenizer, n):
    """A third films, half texts in many languages, the rest long ones, beyond what MiniLM takes."""
    rng = random.Random(2)
    films = titles()[:n // 3]
    many = [text for text in dict.fromkeys(cases()) if usable(tokenizer, text)]
    rng.shuffle(many)
    long = [" ".join(rng.sample(many, rng.randrange(8, 40))) for _ in range(n - n // 3 - n // 2)]
    return films + many[:n // 2] + long


def write(path, texts):
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(text) + "\n" for text in texts)
    return path
