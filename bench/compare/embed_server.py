"""A small OpenAI-compatible embeddings endpoint over sentence-transformers, on loopback: what u2i's remote embedder is tried
against, other than the tests' fake.

    python embed_server.py MODEL [--port 8311] [--key KEY]     MODEL: a folder or a name that sentence-transformers knows

Prints the URL to give to `u2i init --model`. It serves POST /v1/embeddings with "input" (a text or a list), "encoding_format"
(float or base64) and "dimensions" (vectors are cut to it and brought to unit length again); anything else is refused as OpenAI
refuses it, so that messages can be seen too.
"""
import argparse
import base64
import hmac
import json
import os
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from sentence_transformers import SentenceTransformer

BODY_MAX = 64 << 20


class Refused(Exception):
    def __init__(self, status, message):
        super().__init__(message)
        self.status = status


def embed(server, request):
    texts = request.get("input")
    texts = [texts] if isinstance(texts, str) else texts
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) and t for t in texts):
        raise Refused(400, "input must be a text or a list of texts, none of them empty")
    if request.get("model") != server.name:
        raise Refused(404, f"The model `{request.get('model')}` does not exist; this is `{server.name}`")
    with server.lock:  # one core's worth of threads is torch's own business
        vectors = server.model.encode(texts, normalize_embeddings=True, convert_to_numpy=True)
    dimensions = request.get("dimensions")
    if dimensions is not None:
        if not isinstance(dimensions, int) or not 1 <= dimensions <= vectors.shape[1]:
            raise Refused(400, f"dimensions must be within 1..{vectors.shape[1]}")
        vectors = vectors[:, :dimensions]
        vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors.astype("<f4")


def answer(server, request):
    vectors = embed(server, request)
    if request.get("encoding_format") == "base64":
        encoded = [base64.b64encode(v.tobytes()).decode() for v in vectors]
    else:
        encoded = [[float(x) for x in v] for v in vectors]
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": e} for i, e in enumerate(encoded)],
        "model": server.name,
    }


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def reply(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def read_request(self):
        size = int(self.headers.get("Content-Length", 0))
        if size > BODY_MAX:
            self.close_connection = True
            raise Refused(413, f"a request of {size} bytes is over {BODY_MAX}")
        raw = self.rfile.read(size)
        key = self.server.key
        if key and not hmac.compare_digest(self.headers.get("Authorization", ""), f"Bearer {key}"):
            raise Refused(401, "Incorrect API key provided")
        if self.path != "/v1/embeddings":
            raise Refused(404, f"Invalid URL (POST {self.path})")
        try:
            request = json.loads(raw)
        except ValueError as e:
            raise Refused(400, f"the body is no JSON: {e}") from None
        if not isinstance(request, dict):
            raise Refused(400, "the body is no JSON object")
        return request

    def do_POST(self):  # the name is http.server's
        try:
            self.reply(200, answer(self.server, self.read_request()))
        except Refused as e:
            self.reply(e.status, {"error": {"message": str(e), "type": "invalid_request_error"}})

    def log_message(self, *_):
        """Nothing: texts and keys are nobody's business."""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("--port", type=int, default=8311, help="0 = any that is free")
    parser.add_argument("--key", default="", help="asked for as Authorization: Bearer KEY")
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    server.model = SentenceTransformer(arguments.model, device="cpu")
    server.name = os.path.basename(os.path.normpath(arguments.model))
    server.key = arguments.key
    server.lock = threading.Lock()
    print(f"http://127.0.0.1:{server.server_port}/v1#{server.name}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
