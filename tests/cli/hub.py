"""A hub of models for tests: serves lists of files and files as huggingface.co does, and misbehaves as told.

Also a small BERT model's files: random weights, 16 words.
"""
import hashlib
import http.server
import json
import random
import struct
import threading
import time
import urllib.parse

HIDDEN, LAYERS, WIDE, POSITIONS = 8, 2, 16, 32
WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] the of red blue shoes robots space night river ##s ##ing".split()


def safetensors(tensors):
    header, data = {}, b""
    for name, (shape, values) in tensors.items():
        raw = struct.pack(f"<{len(values)}f", *values)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def weights(seed=1, change=None):
    """The file's bytes; `change` is called with the dictionary of tensors first."""
    rng = random.Random(seed)
    tensors = {}

    def add(name, *shape):
        n = shape[0] * (shape[1] if len(shape) > 1 else 1)
        base = 1.0 if name.endswith("LayerNorm.weight") else 0.0
        tensors[name] = (list(shape), [base + rng.uniform(-.5, .5) for _ in range(n)])

    def linear(name, out, into):
        add(name + ".weight", out, into)
        add(name + ".bias", out)

    def norm(name):
        add(name + ".weight", HIDDEN)
        add(name + ".bias", HIDDEN)

    add("embeddings.word_embeddings.weight", len(WORDS), HIDDEN)
    add("embeddings.position_embeddings.weight", POSITIONS, HIDDEN)
    add("embeddings.token_type_embeddings.weight", 2, HIDDEN)
    norm("embeddings.LayerNorm")
    for i in range(LAYERS):
        layer = f"encoder.layer.{i}."
        for part in "query", "key", "value":
            linear(layer + "attention.self." + part, HIDDEN, HIDDEN)
        linear(layer + "attention.output.dense", HIDDEN, HIDDEN)
        norm(layer + "attention.output.LayerNorm")
        linear(layer + "intermediate.dense", WIDE, HIDDEN)
        linear(layer + "output.dense", HIDDEN, WIDE)
        norm(layer + "output.LayerNorm")
    if change:
        change(tensors)
    return safetensors(tensors)


def model_files(**config):
    """A whole model: path -> bytes."""
    settings = {"model_type": "bert", "hidden_act": "gelu", "hidden_size": HIDDEN, "num_hidden_layers": LAYERS,
                "num_attention_heads": 2, "intermediate_size": WIDE, "vocab_size": len(WORDS),
                "max_position_embeddings": POSITIONS, "type_vocab_size": 2, **config}
    kinds = "sentence_transformers.models."
    modules = [{"path": "", "type": kinds + "Transformer"}, {"path": "1_Pooling", "type": kinds + "Pooling"},
               {"path": "2_Normalize", "type": kinds + "Normalize"}]
    return {"config.json": json.dumps(settings).encode(),
            "modules.json": json.dumps(modules).encode(),
            "1_Pooling/config.json": json.dumps({"word_embedding_dimension": HIDDEN,
                                                 "pooling_mode_mean_tokens": True}).encode(),
            "sentence_bert_config.json": b'{"max_seq_length": 24, "do_lower_case": false}',
            "vocab.txt": "".join(word + "\n" for word in WORDS).encode(),
            "model.safetensors": weights(),
            "README.md": b"# A small model\n"}


def entry(path, data):
    """As the hub lists a file; large ones are kept apart from git."""
    sha1 = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
    listed = {"type": "file", "oid": sha1, "size": len(data), "path": path}
    if path.endswith((".safetensors", ".bin")):
        listed["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 130}
    return listed


class Hub:
    """Serves `models`: name -> (path -> bytes), at `url`. What it is told to do wrong is in the other fields."""

    def __init__(self, models=None):
        self.models = models or {}
        self.lists = {}      # name -> what its list says instead
        self.list_headers = {}
        self.statuses = {}   # path of a file -> answers that come first: [(503, {"Retry-After": "1"}), ...]
        self.cuts = {}       # path -> after how many bytes the next answers are cut off
        self.instead = {}    # path -> bytes that are sent instead
        self.ignores_range = False
        self.elsewhere = None  # another hub's URL, where files are
        self.drip = None     # path of a file that arrives slowly
        self.asked = []      # (path, headers)
        hub = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                hub.answer(self)

            def log_message(self, *args):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def asked_for(self, path):
        """The headers of each request for a file."""
        return [headers for where, headers in self.asked if where.endswith("/" + path)]

    @staticmethod
    def send(request, status, data, headers=None):
        request.send_response(status)
        for name, value in (headers or {}).items():
            request.send_header(name, value)
        request.send_header("Content-Length", str(len(data)))
        request.end_headers()
        request.wfile.write(data)

    def answer(self, request):
        path = urllib.parse.urlparse(request.path).path
        self.asked.append((request.path, dict(request.headers)))
        if path.startswith("/api/models/"):
            name, revision = path[len("/api/models/"):].split("/tree/")
            self.answer_list(request, name, revision)
        else:
            name, rest = path[1:].split("/resolve/")
            self.answer_file(request, name, rest.split("/", 1)[1])

    def answer_list(self, request, name, revision):
        if name not in self.models or revision != "main":
            self.send(request, 404, b'{"error":"Repository not found"}')
            return
        listed = [entry(path, data) for path, data in self.models[name].items()]
        listed.insert(0, {"type": "directory", "oid": "0" * 40, "size": 0, "path": "1_Pooling"})
        text = self.lists.get(name, json.dumps(listed).encode())
        self.send(request, 200, text, {"Content-Type": "application/json", **self.list_headers})

    def answer_file(self, request, name, path):
        if self.statuses.get(path):
            status, headers = self.statuses[path].pop(0)
            self.send(request, status, b"not now", headers)
            return
        if self.elsewhere:
            self.send(request, 302, b"over there", {"Location": self.elsewhere + request.path})
            return
        data = self.instead.get(path, self.models[name][path])
        start = 0
        asked = request.headers.get("Range")
        if asked and not self.ignores_range:
            start = int(asked[len("bytes="):-1])
        if start > 0 and start >= len(data):
            self.send(request, 416, b"", {"Content-Range": f"bytes */{len(data)}"})
            return
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        request.send_header("Content-Length", str(len(data) - start))
        request.end_headers()
        self.send_body(request, path, data[start:])

    def send_body(self, request, path, body):
        cut = self.cuts.get(path)
        if cut:
            request.wfile.write(body[:cut.pop(0)])
            request.close_connection = True
        elif self.drip == path:
            try:
                for at in range(0, len(body), 100):
                    request.wfile.write(body[at:at + 100])
                    time.sleep(.1)
            except OSError:
                request.close_connection = True
        else:
            request.wfile.write(body)
