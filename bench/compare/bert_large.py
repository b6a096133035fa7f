#!/usr/bin/env python3
"""A BERT-large with random weights in a folder laid out as BAAI/bge-large-zh-v1.5: is it read, are its vectors PyTorch's, how
fast is it beside onnxruntime, and what memory does it take?

usage: bert_large.py WORK [--quick]

Sizes and files are those of bge-large-zh-v1.5 (24 layers, 1,024 dimensions, CLS pooling, 512 tokens), but for the vocabulary: the
first 8,000 tokens of bert-base-chinese, which have all its Chinese characters. Random weights say nothing about quality, and make
vectors in int8 worse than those of a trained model.
"""
import gzip
import json
import os
import sys
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece

import embed_texts
from embed_engines import onnx_files, peer, ratio, run_rounds, say, u2i

VOCAB = 8000
CONFIG = {
    "architectures": ["BertModel"], "attention_probs_dropout_prob": 0.1, "bos_token_id": 0, "classifier_dropout": None,
    "directionality": "bidi", "eos_token_id": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1, "hidden_size": 1024,
    "id2label": {"0": "LABEL_0"}, "initializer_range": 0.02, "intermediate_size": 4096, "label2id": {"LABEL_0": 0},
    "layer_norm_eps": 1e-12, "max_position_embeddings": 512, "model_type": "bert", "num_attention_heads": 16,
    "num_hidden_layers": 24, "output_past": True, "pad_token_id": 0, "pooler_fc_size": 768,
    "pooler_num_attention_heads": 12, "pooler_num_fc_layers": 3, "pooler_size_per_head": 128,
    "pooler_type": "first_token_transform", "position_embedding_type": "absolute", "torch_dtype": "float32",
    "transformers_version": "4.30.0", "type_vocab_size": 2, "use_cache": True, "vocab_size": VOCAB,
}
POOLING = {
    "word_embedding_dimension": 1024, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False,
    "pooling_mode_max_tokens": False, "pooling_mode_mean_sqrt_len_tokens": False,
}
MODULES = [
    {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
    {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    {"idx": 2, "name": "2", "path": "2_Normalize", "type": "sentence_transformers.models.Normalize"},
]
TOKENS = {"cls_token": "[CLS]", "mask_token": "[MASK]", "pad_token": "[PAD]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
TOKENIZER = {
    "clean_up_tokenization_spaces": True, "do_basic_tokenize": True, "do_lower_case": True, "model_max_length": 512,
    "never_split": None, "strip_accents": None, "tokenize_chinese_chars": True, "tokenizer_class": "BertTokenizer", **TOKENS,
}


def write_json(folder, name, value):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


def write_tokenizer(folder):
    source = embed_texts.ROOT / "tests" / "golden" / "tokenizer" / "vocab_zh.txt.gz"
    with gzip.open(source, "rt", encoding="utf-8", newline="\n") as f:
        tokens = [line.rstrip("\n") for line in f][:VOCAB]
    (folder / "vocab.txt").write_text("".join(t + "\n" for t in tokens), encoding="utf-8")
    tokenizer = Tokenizer(WordPiece({t: i for i, t in enumerate(tokens)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.add_special_tokens(list(TOKENS.values()))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[(t, tokens.index(t)) for t in ("[CLS]", "[SEP]")])
    tokenizer.save(str(folder / "tokenizer.json"))


def write_weights(folder):
    import torch
    from safetensors.torch import save_file
    from transformers import BertConfig, BertModel

    torch.manual_seed(1)
    model = BertModel(BertConfig(**{k: v for k, v in CONFIG.items() if k not in ("torch_dtype", "transformers_version")}))
    with torch.no_grad():  # biases and norms of a new model are zeros and ones, which would hide mistakes
        for name, tensor in model.named_parameters():
            if name.endswith("bias"):
                tensor.normal_(0, 0.02)
            elif "LayerNorm" in name:
                tensor.normal_(1, 0.1)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    state["embeddings.position_ids"] = torch.arange(512).unsqueeze(0)  # older versions saved it
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def make_folder(folder):
    """The tokenizer's files come last but one, the weights last: with them it is whole."""
    if (folder / "model.safetensors").exists():
        return folder
    say("a BERT-large with random weights")
    write_json(folder, "config.json", CONFIG)
    write_json(folder, "modules.json", MODULES)
    write_json(folder, "1_Pooling/config.json", POOLING)
    write_json(folder, "sentence_bert_config.json", {"max_seq_length": 512, "do_lower_case": True})
    write_json(folder, "config_sentence_transformers.json",
               {"__version__": {"sentence_transformers": "2.2.2", "transformers": "4.28.1", "pytorch": "1.13.0+cu117"}})
    write_json(folder, "special_tokens_map.json", TOKENS)
    write_json(folder, "tokenizer_config.json", TOKENIZER)
    write_tokenizer(folder)
    # In a process of its own, as torch would stay in memory.
    if os.spawnl(os.P_WAIT, sys.executable, sys.executable, __file__, "--weights", str(folder)) != 0:
        raise RuntimeError("the weights could not be made")
    return folder


def vectors(engine, path, out):
    answer = engine.ask("vectors", path, out)
    return np.fromfile(out, "<f4").reshape(-1, answer["dim"]).astype(np.float64)


def texts(folder, work, quick):
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    source = [t for t in embed_texts.cases(["cases_zh.jsonl.gz"])  # in Chinese: the vocabulary has little else
              if embed_texts.usable(tokenizer, t) and any("\u4e00" <= c <= "\u9fff" for c in t)]
    twelve = embed_texts.of_length(tokenizer, source, 12, 8 if quick else 32)
    return (embed_texts.write(work / "large-twelve.jsonl", twelve),
            embed_texts.write(work / "large-mixed.jsonl", [t[:400] for t in source[::50]][:10 if quick else 40]))


def measure(engines, twelve, quick):
    """Speed of all, memory of ours."""
    for e in engines.values():
        e.start()
    run_rounds(engines.values(), [("one", "each", twelve), ("all", "all", twelve)], 2 if quick else 5)
    for name in ("u2i f32", "u2i int8"):
        engines[name].rss = engines[name].rss_mb()


def report(engines, cosine, weights_mb):
    print(f"\n{'BERT-large, one thread, 12 tokens':32} {'alone ms':>9} {'together ms':>12} {'load ms':>8} {'RSS MB':>7}"
          f"  cosine to PyTorch, least / mean")
    for e in engines.values():
        rss = f"{e.rss:.0f}" if hasattr(e, "rss") else "-"
        near = f"{cosine[e.name].min():.7f} / {cosine[e.name].mean():.7f}" if e.name in cosine else "-"
        print(f"{e.name:32} {e.seconds('one') * 1e3:9.1f} {e.seconds('all') * 1e3:12.1f} {e.load_ms:8.0f} {rss:>7}  {near}")
    print(f"weights in floats: {weights_mb:.0f} MB")
    found = {}
    for precision in ("f32", "int8"):
        ours = engines[f"u2i {precision}"]
        theirs = engines[f"onnxruntime {precision}"]
        found[f"bertlarge_vs_ort_{precision}"] = ratio(theirs.seconds("one"), ours.seconds("one"))
        found[f"bertlarge_titles_vs_ort_{precision}"] = ratio(theirs.seconds("all"), ours.seconds("all"))
        found[f"parity_bertlarge_{precision}_min"] = cosine[ours.name].min()
    found["bertlarge_rss_over_weights_mb"] = engines["u2i f32"].rss - weights_mb
    found["bertlarge_rss_int8_mb"] = engines["u2i int8"].rss
    return found


def run(work, quick):
    folder = make_folder(work / "bge-large-random")
    twelve, mixed = texts(folder, work, quick)
    onnx = onnx_files(folder, work / "large-onnx", "--plain")  # fused it is no faster, and takes as long again to be made
    engines = {f"u2i {p}": u2i(f"u2i {p}", folder, p, work) for p in ("f32", "int8")}
    for precision in ("f32", "int8"):
        name = f"onnxruntime {precision}"
        engines[name] = peer(name, "onnxruntime", folder, onnx / f"{precision}.onnx")
    torch = peer("sentence-transformers", "sentence-transformers", folder)
    try:
        torch.start()
        want = vectors(torch, mixed, work / "vectors.f32")
        torch.stop()
        measure(engines, twelve, quick)
        cosine = {e.name: (vectors(e, mixed, work / "vectors.f32") * want).sum(1) for e in engines.values()}
    finally:
        for e in [torch, *engines.values()]:
            e.stop()
    return report(engines, cosine, (folder / "model.safetensors").stat().st_size / 2**20)


if __name__ == "__main__":
    if sys.argv[1] == "--weights":
        write_weights(Path(sys.argv[2]))
    else:
        for metric, value in run(Path(sys.argv[1]).resolve(), "--quick" in sys.argv).items():
            print(f"metric {metric} {value:.7f}")
