"""u2i and its peers as processes on chosen cores, and how they are measured: in turns, medians of several rounds."""
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
# Where others use the machine: what one thread takes is the process' CPU time, so that waiting for a core does not count.
CLOCK = "cpu" if os.environ.get("U2I_BENCH_CPU_TIME") else "seconds"
BATCHES = (1, 8, 32)  # of onnxruntime: the best of them counts


def bench_embed():
    return os.environ.get("U2I_BENCH_EMBED", str(ROOT / "build" / "release" / "bench_embed"))


def cores():
    return sorted(os.sched_getaffinity(0))


def say(text):
    print(text, file=sys.stderr, flush=True)


class Engine:
    def __init__(self, name, command, threads=1, env=None, batches=(None,)):
        self.name, self.command, self.threads = name, [str(word) for word in command], threads
        self.env, self.batches = env or {}, batches
        self.process, self.load_ms, self.start_ms, self.said = None, None, None, {}
        self.times = {}  # seconds for one text: {measure: [one for each round]}
        self.best_batch = {}

    def start(self):
        """From the start of the process to its first vector; the least of all starts is kept."""
        where = ",".join(map(str, cores()[:self.threads]))
        begin = time.perf_counter()
        self.process = subprocess.Popen(["taskset", "-c", where] + self.command, stdin=subprocess.PIPE, text=True,
                                        stdout=subprocess.PIPE, env=dict(os.environ, **self.env),
                                        stderr=None if os.environ.get("U2I_BENCH_VERBOSE") else subprocess.DEVNULL)
        self.said = self.read()
        took = (time.perf_counter() - begin) * 1e3
        self.start_ms = min(took, self.start_ms or took)
        self.load_ms = min(self.said["load_ms"], self.load_ms or self.said["load_ms"])

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.name}: ended with status {self.process.wait()} (U2I_BENCH_VERBOSE=1 shows why)")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"{self.name}: {answer['error']}")
        return answer

    def ask(self, *words):
        self.process.stdin.write("\t".join(map(str, words)) + "\n")
        self.process.stdin.flush()
        return self.read()

    def rss_mb(self):
        """Resident memory, pages of mapped files included."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as f:
            return next(int(line.split()[1]) for line in f if line.startswith("VmRSS")) / 1024

    def stop(self):
        if self.process is not None:
            self.process.communicate()
            self.process = None

    def measure(self, name, verb, path):
        """One round."""
        clock = CLOCK if self.threads == 1 else "seconds"
        if verb == "each":
            self.times.setdefault(name, []).append(self.ask(verb, path)[clock])
            return
        batches = [self.best_batch[name]] if name in self.best_batch else self.batches
        took = {}
        for batch in batches:
            answer = self.ask(verb, path) if batch is None else self.ask(verb, path, batch)
            took[batch] = answer[clock] / answer["texts"]
        self.best_batch[name] = min(took, key=took.get)
        self.times.setdefault(name, []).append(min(took.values()))

    def seconds(self, name):
        """Of one text; None where it was not measured."""
        return statistics.median(self.times[name]) if name in self.times else None


def u2i(name, folder, precision, work, threads=1, simd=None):
    command = [bench_embed(), "--model", folder, "--precision", precision, "--cache", work / "cache"]
    return Engine(name, command, threads, {"U2I_SIMD": simd} if simd else None)


def peer(name, kind, *arguments):
    batches = BATCHES if kind == "onnxruntime" else (None,)
    return Engine(name, [sys.executable, HERE / "embed_peers.py", kind, *arguments], batches=batches)


def onnx_files(folder, out, *options):
    """Makes them if they are not there; in a process of its own, as it takes a lot of memory."""
    if not (out / "done").exists():
        say(f"{out.name}: ONNX files")
        subprocess.run([sys.executable, HERE / "embed_onnx.py", folder, out, *options], check=True, stdout=subprocess.DEVNULL,
                       stderr=None if os.environ.get("U2I_BENCH_VERBOSE") else subprocess.DEVNULL)
    return out


def run_rounds(engines, measures, rounds):
    """measures: (name, verb, file); in each round all engines do all of them, so that a slow minute hits all alike."""
    for number in range(rounds):
        say(f"  round {number + 1} of {rounds}")
        for engine in engines:
            for name, verb, path in measures:
                if verb != "each" or engine.threads == 1:
                    engine.measure(name, verb, path)


def ratio(theirs, ours):
    return None if theirs is None or ours is None else theirs / ours


def least(engines, name):
    times = [e.seconds(name) for e in engines if e.seconds(name) is not None]
    return min(times) if times else None
