"""One peer in a process of its own: reads commands from stdin, answers each with a line of JSON.

A command is a line of tab-separated words: a verb, then key=value. bench_index speaks the same
language, so that the driver treats everybody alike:

    load    base=F.npy [rows=N]
    build   threads=N [index=FILE]     builds, or loads FILE if it is there, else saves to it
    search  queries=F.npy ef=N k=N ids=F.npy [threads=N] [limit=N] [each=1] [allow=BITS] [deny=F.npy]
            [refine=N]                 each=1: one call for each query, with percentiles of their times
    quit

Runs under Python 3.10 too (glass has wheels for that version only) and needs numpy and the one peer.
"""
import ctypes
import gc
import json
import os
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

import numpy as np

LINKS, EF_CONSTRUCTION = 16, 200


def memory_bytes():
    """Resident memory that no file stands behind."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


class Peer:
    """What the peers have in common. A subclass has make(base, threads), read(path, base), write(path) and
    query(queries, k, ef, threads): the ids of all queries, each answered by itself."""

    variants = [{}]  # settings to try beside ef

    def __init__(self):
        self.base = None

    def load(self, command):
        self.base = np.load(command["base"], mmap_mode="r")
        if "rows" in command:
            self.base = self.base[: int(command["rows"])]
        return {"rows": len(self.base), "dim": self.base.shape[1], "variants": self.variants}

    def build(self, command):
        path = Path(command["index"]) if "index" in command else None
        notes = path.with_suffix(".json") if path else None
        if path and path.exists() and notes.exists():
            self.read(str(path), self.base)
            return json.loads(notes.read_text())
        threads, before = int(command["threads"]), memory_bytes()
        wall, cpu = time.monotonic(), time.process_time()
        self.make(self.base, threads)
        found = {"wall_s": time.monotonic() - wall, "cpu_s": time.process_time() - cpu, "threads": threads}
        found["bytes"] = (memory_bytes() - before) / len(self.base)
        if path:
            self.write(str(path))
            notes.write_text(json.dumps(found))
        return found

    def search(self, command):
        queries = np.load(command["queries"])[: int(command.get("limit", 1 << 30))]
        k, ef, threads = (int(command.get(key, 1)) for key in ("k", "ef", "threads"))
        self.prepare(command)
        if "allow" in command or "deny" in command:
            ids, seconds = self.filtered(command, queries, k, ef)
            found = {}
        elif "each" in command:
            times = np.empty(len(queries))
            ids = np.empty((len(queries), k), np.int64)
            for i in range(len(queries)):
                start = time.perf_counter()
                ids[i] = self.query(queries[i : i + 1], k, ef, 1)[0]
                times[i] = time.perf_counter() - start
            seconds = times.sum()
            found = {f"p{p}_us": float(np.percentile(times, p)) * 1e6 for p in (50, 99)}
        else:
            start, cpu = time.perf_counter(), time.process_time()
            ids = self.query(queries, k, ef, threads)
            seconds = time.perf_counter() - start
            found = {"cpu_qps": len(queries) / (time.process_time() - cpu)}
        np.save(command["ids"], np.asarray(ids, np.int64).astype(np.int32))
        return {"seconds": seconds, "qps": len(queries) / seconds, **found}

    def prepare(self, command):
        """Takes over settings other than ef."""

    def filtered(self, command, queries, k, ef):
        raise ValueError("cannot filter")


class Hnswlib(Peer):
    """The PyPI package, built on this machine with -march=native, as its setup.py has it. Filters go
    through hnswlib_filter.cpp, since calling Python for each candidate would measure Python."""

    def make(self, base, threads):
        import hnswlib

        self.index = hnswlib.Index("ip", base.shape[1])
        self.index.init_index(len(base), M=LINKS, ef_construction=EF_CONSTRUCTION, random_seed=100)
        self.index.add_items(base, np.arange(len(base)), num_threads=threads)

    def write(self, path):
        self.index.save_index(path)
        self.path = path

    def read(self, path, base):
        import hnswlib

        self.index = hnswlib.Index("ip", base.shape[1])
        self.index.load_index(path)
        self.path = path

    def query(self, queries, k, ef, threads):
        self.index.set_ef(ef)
        return self.index.knn_query(queries, k, num_threads=threads)[0]

    def filtered(self, command, queries, k, ef):
        if not hasattr(self, "shim"):
            self.shim = HnswlibShim(self.path, len(self.base), self.base.shape[1])
        return self.shim.search(command, queries, k, ef)


class Request(ctypes.Structure):
    """As in hnswlib_filter.cpp."""

    _fields_ = [("queries", ctypes.c_void_p), ("n", ctypes.c_size_t), ("k", ctypes.c_size_t),
                ("ef", ctypes.c_size_t), ("allow", ctypes.c_void_p), ("deny", ctypes.c_void_p),
                ("deny_n", ctypes.c_size_t), ("ids", ctypes.c_void_p)]


class HnswlibShim:
    def __init__(self, path, rows, dim):
        import hnswlib

        source = Path(__file__).with_name("hnswlib_filter.cpp")
        library = Path(path).with_name("hnswlib_filter.so")
        headers = os.environ["U2I_HNSWLIB_HEADERS"]
        if not library.exists() or library.stat().st_mtime < source.stat().st_mtime:
            subprocess.run(["g++", "-O3", "-march=native", "-std=c++17", "-shared", "-fPIC", "-I", headers,
                            str(source), "-o", str(library)], check=True, stdout=sys.stderr)
        self.code = ctypes.CDLL(str(library))
        self.code.shim_open.restype = ctypes.c_void_p
        self.code.shim_search.restype = ctypes.c_double
        self.rows, self.bits = rows, (rows + 7) // 8
        self.index = ctypes.c_void_p(self.code.shim_open(path.encode(), ctypes.c_size_t(dim)))

    def search(self, command, queries, k, ef):
        queries = np.ascontiguousarray(queries)
        ids = np.full((len(queries), k), -1, np.int32)
        allow = np.fromfile(command["allow"], np.uint8) if "allow" in command else np.full(self.bits, 255, np.uint8)
        deny = np.load(command["deny"])[: len(queries)] if "deny" in command else np.empty((0, 0), np.int32)
        deny = np.ascontiguousarray(deny[:, : int(command.get("deny_count", 1 << 30))], np.int32)

        request = Request(queries.ctypes.data, len(queries), k, ef, allow.ctypes.data, deny.ctypes.data,
                          deny.shape[1], ids.ctypes.data)
        seconds = self.code.shim_search(self.index, ctypes.byref(request))
        return ids, seconds


class Faiss(Peer):
    spec = f"HNSW{LINKS}"

    def make(self, base, threads):
        import faiss

        faiss.omp_set_num_threads(threads)
        self.index = faiss.index_factory(base.shape[1], self.spec.format(lists=self.lists(base)),
                                         faiss.METRIC_INNER_PRODUCT)
        self.core().hnsw.efConstruction = EF_CONSTRUCTION
        base = np.ascontiguousarray(base)
        if not self.index.is_trained:
            self.index.train(base)
        self.index.add(base)

    def lists(self, base):
        return 2 ** int(np.log2(np.sqrt(len(base)) * 4))

    def core(self):
        import faiss

        index = self.index
        return faiss.downcast_index(index.base_index) if isinstance(index, faiss.IndexRefine) else index

    def write(self, path):
        import faiss

        faiss.write_index(self.index, path)

    def read(self, path, base):
        import faiss

        self.index = faiss.read_index(path)

    def parameters(self, ef, selector=None):
        import faiss

        return faiss.SearchParametersHNSW(efSearch=ef, sel=selector)

    def query(self, queries, k, ef, threads):
        import faiss

        faiss.omp_set_num_threads(threads)
        return self.index.search(queries, k, params=self.parameters(ef))[1]

    def filtered(self, command, queries, k, ef):
        """One call for each query, since a selector belongs to a call; making it isn't timed."""
        import faiss

        faiss.omp_set_num_threads(1)
        rows = len(self.base)
        bits = np.fromfile(command["allow"], np.uint8) if "allow" in command else np.full((rows + 7) // 8, 255, np.uint8)
        deny = np.load(command["deny"]) if "deny" in command else None
        count = int(command.get("deny_count", 1 << 30))
        ids, seconds = np.empty((len(queries), k), np.int64), 0.0
        for i in range(len(queries)):
            if deny is not None:
                mask = np.unpackbits(bits, bitorder="little")
                mask[deny[i, :count]] = 0
                own = np.packbits(mask, bitorder="little")
            else:
                own = bits
            parameters = self.parameters(ef, faiss.IDSelectorBitmap(own))
            query = queries[i : i + 1]
            start = time.perf_counter()
            ids[i] = self.index.search(query, k, params=parameters)[1][0]
            seconds += time.perf_counter() - start
        return ids, seconds


class FaissSq8(Faiss):
    """8-bit codes in the graph; the best are compared again by their float vectors."""

    spec = f"HNSW{LINKS}_SQ8,RFlat"
    variants = [{"refine": 1}, {"refine": 3}]
    refine = 1

    def prepare(self, command):
        self.refine = int(command.get("refine", 1))

    def parameters(self, ef, selector=None):
        import faiss

        inner = faiss.SearchParametersHNSW(efSearch=ef, sel=selector)
        return faiss.IndexRefineSearchParameters(k_factor=self.refine, base_index_params=inner)


class FaissIvf(FaissSq8):
    """Inverted lists, 4-bit product codes scanned with shuffles, and a comparison by float vectors.
    ef is the number of lists looked into. One call for each query: over many at once it is faster."""

    spec = "IVF{lists},PQ{half}x4fs,RFlat"
    variants = [{"refine": 4}, {"refine": 10}, {"refine": 30}]

    def make(self, base, threads):
        import faiss

        faiss.omp_set_num_threads(threads)
        spec = self.spec.format(lists=self.lists(base), half=base.shape[1] // 2)
        self.index = faiss.index_factory(base.shape[1], spec, faiss.METRIC_INNER_PRODUCT)
        base = np.ascontiguousarray(base)
        self.index.train(base)
        self.index.add(base)

    def parameters(self, ef, selector=None):
        import faiss

        inner = faiss.SearchParametersIVF(nprobe=ef, sel=selector)
        return faiss.IndexRefineSearchParameters(k_factor=self.refine, base_index_params=inner)

    def query(self, queries, k, ef, threads):
        import faiss

        faiss.omp_set_num_threads(threads)
        parameters = self.parameters(ef)
        return np.concatenate([self.index.search(queries[i : i + 1], k, params=parameters)[1]
                               for i in range(len(queries))])


class FaissFlat(Peer):
    """Every row compared with every query, one query after the other; ef means nothing."""

    def make(self, base, threads):
        import faiss

        self.index = faiss.IndexFlatIP(base.shape[1])
        self.index.add(np.ascontiguousarray(base))

    def write(self, path):
        pass

    def build(self, command):
        return super().build({key: value for key, value in command.items() if key != "index"})

    def query(self, queries, k, ef, threads):
        import faiss

        faiss.omp_set_num_threads(threads)
        return np.concatenate([self.index.search(queries[i : i + 1], k)[1] for i in range(len(queries))])

    def filtered(self, command, queries, k, ef):
        """The rows that pass lie in an index of their own, as a category's would."""
        import faiss

        faiss.omp_set_num_threads(1)
        mask = np.unpackbits(np.fromfile(command["allow"], np.uint8), bitorder="little")[: len(self.base)]
        rows = np.flatnonzero(mask)
        some = faiss.IndexFlatIP(self.base.shape[1])
        some.add(np.ascontiguousarray(self.base[rows]))
        ids, seconds = np.full((len(queries), k), -1, np.int64), 0.0
        for i in range(len(queries)):
            query = queries[i : i + 1]
            start = time.perf_counter()
            found = some.search(query, min(k, len(rows)))[1][0]
            seconds += time.perf_counter() - start
            ids[i, : len(found)] = rows[found]
        return ids, seconds


class Usearch(Peer):
    kind = "f32"

    def make(self, base, threads):
        from usearch.index import Index

        self.index = Index(ndim=base.shape[1], metric="ip", dtype=self.kind, connectivity=LINKS,
                           expansion_add=EF_CONSTRUCTION)
        self.index.add(np.arange(len(base)), np.ascontiguousarray(base), threads=threads)

    def write(self, path):
        self.index.save(path)

    def read(self, path, base):
        from usearch.index import Index

        self.index = Index(ndim=base.shape[1], metric="ip", dtype=self.kind, connectivity=LINKS,
                           expansion_add=EF_CONSTRUCTION)
        self.index.load(path)

    def query(self, queries, k, ef, threads):
        self.index.expansion_search = ef
        return self.index.search(queries, k, threads=threads).keys.reshape(len(queries), k)


class UsearchI8(Usearch):
    kind = "i8"


class Glass(Peer):
    """A graph, and a searcher with codes of its level. All levels share the graph's file. optimize()
    measures which prefetch distances are best on this machine."""

    level = 0

    def make(self, base, threads):
        import glassppy

        glassppy.set_num_threads(threads)
        # R is the degree of layer 0, twice M
        self.graph = glassppy.Index("HNSW", base.shape[1], "IP", 2 * LINKS, EF_CONSTRUCTION).build(base)

    def build(self, command):
        import glassppy

        if "index" in command:
            path = Path(command["index"])
            command = dict(command, index=str(path.with_name(path.stem.rsplit("-", 1)[0] + "-graph.bin")))
        found, before = super().build(command), memory_bytes()
        self.searcher = glassppy.Searcher(self.graph, self.base, "IP", self.level)
        self.graph = None  # the searcher has its own
        self.searcher.set_ef(64)
        self.searcher.optimize(1)
        found["bytes"] = (memory_bytes() - before) / len(self.base)
        return found

    def write(self, path):
        self.graph.save(path)

    def read(self, path, base):
        import glassppy

        self.graph = glassppy.Graph(path)

    def query(self, queries, k, ef, threads):
        self.searcher.set_ef(ef)
        return self.searcher.batch_search(queries, k, threads).reshape(len(queries), k)


class GlassSq8(Glass):
    level = 1


class GlassSq4(Glass):
    level = 2


PEERS = {
    "hnswlib": Hnswlib,
    "faiss-hnsw": Faiss,
    "faiss-hnsw-sq8": FaissSq8,
    "faiss-ivfpq": FaissIvf,
    "faiss-flat": FaissFlat,
    "usearch-f32": Usearch,
    "usearch-i8": UsearchI8,
    "glass-f32": Glass,
    "glass-sq8": GlassSq8,
    "glass-sq4": GlassSq4,
}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # the peers print their progress
    peer = PEERS[sys.argv[1]]()
    for line in sys.stdin:
        verb, *words = line.rstrip("\n").split("\t")
        command = dict(word.split("=", 1) for word in words)
        if verb == "quit":
            break
        try:
            answer = getattr(peer, {"load": "load", "build": "build", "search": "search"}[verb])(command)
        except Exception as error:  # the driver says it and goes on with the others
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
