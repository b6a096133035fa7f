"""What the tests of the command line share: running it, and a scratch folder for each test.

The program under test is named by the environment variable U2I.
"""
import json
import os
import shutil
import subprocess
import tempfile
import unittest

U2I = os.environ.get("U2I") or shutil.which("u2i")


class Result:
    def __init__(self, done):
        self.code = done.returncode
        self.out = done.stdout.decode("utf-8")
        self.err = done.stderr.decode("utf-8")

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        """One document."""
        return json.loads(self.out)

    @property
    def jsonl(self):
        """One document per line."""
        return [json.loads(line) for line in self.lines]


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="u2i-cli-")
        self.addCleanup(shutil.rmtree, self.dir)
        self.env = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "U2I_STORE")}

    def run_u2i(self, *args, stdin=b"", code=0, env=None):
        """Runs u2i in the scratch folder; the exit code must be `code` (None: any)."""
        if isinstance(stdin, str):
            stdin = stdin.encode("utf-8")
        done = subprocess.run([U2I, *args], input=stdin, capture_output=True, cwd=self.dir,
                              env={**self.env, **(env or {})}, timeout=300)
        result = Result(done)
        if code is not None and result.code != code:
            self.fail(f"u2i {' '.join(args)}: exit code {result.code}, not {code}\n"
                      f"{result.out}\n{result.err}")
        return result

    def path(self, name):
        return os.path.join(self.dir, name)

    def write(self, name, content):
        if isinstance(content, str):
            content = content.encode("utf-8")
        with open(self.path(name), "wb") as f:
            f.write(content)
        return name

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read().decode("utf-8")

    def stats(self, store="shop.db"):
        return self.run_u2i("stats", store, "--json").json

    def make_shop(self):
        """A store with six items, three users and a few events."""
        self.run_u2i("init", "shop.db")
        self.run_u2i("import", "shop.db", "items", "-", stdin=SHOP_ITEMS)
        self.run_u2i("import", "shop.db", "events", "-", stdin=SHOP_EVENTS)


SHOP_ITEMS = """\
{"id":"b1","title":"Dune","text":"space opera, desert planet, galactic empire","category":"book","price":9.5,"tags":["space","classic"]}
{"id":"b2","title":"Foundation","text":"space opera, galactic empire falling, distant planet","category":"book","price":12}
{"id":"b3","title":"Emma","text":"romance, marriage, English village","category":"book","price":7}
{"id":"b4","title":"Persuasion","text":"romance, marriage, second chance","category":"book","price":30}
{"id":"f1","title":"星のカービィ","text":"ピンクの丸いヒーロー","category":"ゲーム","price":49}
{"id":"f2","title":"Space Opera Nights","text":"space music and opera","category":"film","price":15}
"""

SHOP_EVENTS = """\
user,item,action,timestamp
u1,f1,view,2024-01-01T10:00:00Z
u1,b1,like,2024-01-02T10:00:00Z
u2,b3,purchase,2024-01-03T10:00:00Z
u2,b4,purchase,2024-01-04T10:00:00Z
u3,f1,click,2024-01-05T10:00:00Z
"""


def main():
    if not U2I:
        raise SystemExit("name the program under test: U2I=build/u2i")
    unittest.main()
