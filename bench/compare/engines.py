"""The engines as processes that are asked line by line; peers.py has the language."""
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]

GRAPHS = ["hnswlib", "faiss-hnsw", "faiss-hnsw-sq8", "usearch-f32", "usearch-i8",
          "glass-f32", "glass-sq8", "glass-sq4"]


class EngineError(Exception):
    pass


def bench_index_path():
    return Path(os.environ.get("U2I_BENCH_INDEX", ROOT / "build" / "release" / "bench_index"))


def glass_python():
    """Python 3.10 with glass, or None."""
    path = Path(os.environ.get("U2I_BENCH_GLASS", ROOT / "build" / "bench-venv-glass")) / "bin" / "python"
    return path if path.exists() else None


class Engine:
    def __init__(self, name):
        self.name = name
        if name == "u2i":
            command = [str(bench_index_path()), "--commands"]
        else:
            python = glass_python() if name.startswith("glass") else sys.executable
            if python is None:
                raise EngineError("there is no Python 3.10 to run it (see README.md)")
            command = [str(python), str(HERE / "peers.py"), name]
        environment = dict(os.environ, OMP_WAIT_POLICY="PASSIVE", OPENBLAS_NUM_THREADS="1", PYTHONDONTWRITEBYTECODE="1")
        environment.pop("OMP_NUM_THREADS", None)
        try:
            self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                            stderr=None if os.environ.get("U2I_BENCH_VERBOSE") else subprocess.DEVNULL,
                                            env=environment)
        except OSError as error:
            raise EngineError(f"cannot start: {error}") from error

    def ask(self, verb, **settings):
        words = [verb] + [f"{key}={value}" for key, value in settings.items() if value is not None]
        try:
            self.process.stdin.write("\t".join(words) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except OSError as error:
            raise EngineError(f"{verb}: {error}") from error
        if not line:
            raise EngineError(f"{verb}: ended with status {self.process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise EngineError(f"{verb}: {answer['error']}")
        return answer

    def close(self):
        try:
            self.process.communicate("quit\n", timeout=20)
        except (OSError, ValueError, subprocess.TimeoutExpired):
            self.process.kill()
            self.process.wait()
