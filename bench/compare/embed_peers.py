"""One peer of u2i's embedder as a process, in the language of bench/bench_embed.c: a line of JSON when the first vector is
there, then commands on stdin.

usage: embed_peers.py sentence-transformers FOLDER
       embed_peers.py onnxruntime FOLDER FILE.onnx
       embed_peers.py llama FOLDER FILE.gguf

Commands: `all FILE [BATCH]`, `each FILE`, `vectors FILE OUT`; words with tabs between them. All peers run on one thread.
"""
import json
import os
import sys
import time

START = time.perf_counter()
os.environ.update(TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1", CUDA_VISIBLE_DEVICES="", HF_HUB_OFFLINE="1")


def max_tokens(folder):
    with open(os.path.join(folder, "sentence_bert_config.json"), encoding="utf-8") as f:
        return json.load(f)["max_seq_length"]


class SentenceTransformers:
    def __init__(self, folder):
        import torch
        from sentence_transformers import SentenceTransformer

        torch.set_num_threads(1)
        torch.set_num_interop_threads(1)
        self.model = SentenceTransformer(folder, device="cpu")

    def embed(self, texts, batch):
        return self.model.encode(texts, batch_size=batch or 32, show_progress_bar=False, normalize_embeddings=True)


class OnnxRuntime:
    """The texts in order of their lengths, each batch padded to its longest."""

    def __init__(self, folder, path):
        import numpy
        import onnxruntime
        from tokenizers import Tokenizer

        self.numpy = numpy
        self.tokenizer = Tokenizer.from_file(os.path.join(folder, "tokenizer.json"))
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(max_tokens(folder))
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        onnxruntime.set_default_logger_severity(3)
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        with open(os.path.join(folder, "1_Pooling", "config.json"), encoding="utf-8") as f:
            self.cls = json.load(f).get("pooling_mode_cls_token", False)

    def run(self, lists):
        np = self.numpy
        ids = np.zeros((len(lists), max(map(len, lists))), np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(lists):
            ids[row, :len(tokens)] = tokens
            mask[row, :len(tokens)] = 1
        hidden = self.session.run(None, {"input_ids": ids, "attention_mask": mask, "token_type_ids": ids * 0})[0]
        if self.cls:
            pooled = hidden[:, 0]
        else:
            weights = mask[..., None].astype(np.float32)
            pooled = (hidden * weights).sum(1) / weights.sum(1)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)

    def embed(self, texts, batch):
        lists = [e.ids for e in self.tokenizer.encode_batch(texts)]
        order = sorted(range(len(lists)), key=lambda i: len(lists[i]))
        batch = batch or 8
        parts = [self.run([lists[i] for i in order[at:at + batch]]) for at in range(0, len(order), batch)]
        out = self.numpy.empty((len(texts), parts[0].shape[1]), self.numpy.float32)
        out[order] = self.numpy.concatenate(parts)
        return out


class Llama:
    def __init__(self, folder, path):
        from llama_cpp import Llama as Model

        self.model = Model(model_path=path, embedding=True, n_threads=1, n_threads_batch=1, n_ctx=512, n_batch=512,
                           n_ubatch=512, verbose=False)

    def embed(self, texts, batch):
        import numpy

        del batch  # it fills batches by itself
        return numpy.array(self.model.embed(texts, normalize=True, truncate=True), numpy.float32)


KINDS = {"sentence-transformers": SentenceTransformers, "onnxruntime": OnnxRuntime, "llama": Llama}


def texts_of(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def answer(peer, verb, path, extra):
    texts = texts_of(path)
    if verb == "all":
        start, cpu = time.perf_counter(), time.process_time()
        peer.embed(texts, int(extra[0]) if extra else None)
        return {"texts": len(texts), "seconds": time.perf_counter() - start, "cpu": time.process_time() - cpu}
    if verb == "each":
        times, cpus = [], []
        for text in texts:
            start, cpu = time.perf_counter(), time.process_time()
            peer.embed([text], 1)
            cpus.append(time.process_time() - cpu)
            times.append(time.perf_counter() - start)
        return {"texts": len(texts), "seconds": sorted(times)[len(times) // 2], "cpu": sorted(cpus)[len(cpus) // 2]}
    if verb == "vectors":
        vectors = peer.embed(texts, None)
        vectors.astype("<f4").tofile(extra[0])
        return {"texts": len(texts), "dim": vectors.shape[1]}
    return {"error": f"no command {verb}"}


def main():
    # What libraries print goes to stderr: stdout is for answers.
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    peer = KINDS[sys.argv[1]](*sys.argv[2:])
    peer.embed(["a robot learns to love"], 1)
    print(json.dumps({"load_ms": (time.perf_counter() - START) * 1e3}), file=out, flush=True)
    for line in sys.stdin:
        verb, path, *extra = line.rstrip("\n").split("\t")
        print(json.dumps(answer(peer, verb, path, extra)), file=out, flush=True)


if __name__ == "__main__":
    main()
