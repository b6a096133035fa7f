"""index, --explain, and what import, stats and verify say of the index."""
import json
import os
import random
import shutil
import unittest

from common import Case

ITEMS = 400


class Index(Case):
    def setUp(self):
        super().setUp()
        random.seed(3)
        self.run_u2i("init", "v.db", "--dim", "12")
        rows = [{"id": f"i{i}", "vector": [random.gauss(0, 1) for _ in range(12)],
                 "category": "rare" if i % 50 == 0 else "common"} for i in range(ITEMS)]
        self.write("items.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
        self.vector = json.dumps(rows[7]["vector"])

    def search(self, *options):
        return self.run_u2i("search", "v.db", "--vector", self.vector, "-n", "3", *options)

    def test_few_vectors_need_no_index(self):
        self.assertEqual(len(self.run_u2i("import", "v.db", "items", "items.jsonl").lines), 1)
        self.assertIn("few enough", self.run_u2i("index", "v.db").out)
        self.assertEqual(self.search("--explain").lines[-1], "search: exact, 400 compared, about 400 pass")
        self.assertFalse(os.path.exists(self.path("v.db-index")))
        self.assertNotIn("index", self.run_u2i("stats", "v.db").out)

    def test_import_leaves_an_index_that_the_next_command_uses(self):
        self.run_u2i("config", "v.db", "set", "index_exact_max", "100")
        report = self.run_u2i("import", "v.db", "items", "items.jsonl").lines
        self.assertRegex(report[1], r"^index: 400 vectors, ef \d+; .* added in")
        self.assertTrue(os.path.exists(self.path("v.db-index/content.hnsw")))
        answer = self.search("--explain").lines
        self.assertIn("i7", answer[1])
        self.assertRegex(answer[-1], r"^search: walk, ef \d+, \d+ compared, about 400 pass$")
        rare = self.search("--explain", "--filter", 'category == "rare"').lines
        self.assertEqual(rare[-1], "search: scan, 8 compared, about 8 pass")
        stats = self.run_u2i("stats", "v.db", "--json").json
        self.assertEqual((stats["index_items"], stats["index_pending"]), (400, 0))
        self.assertGreater(stats["index_mapped_bytes"], 400 * 12 * 4)
        self.assertRegex(self.run_u2i("stats", "v.db").out, r"index +400 vectors, ef \d+")
        self.assertEqual(self.run_u2i("verify", "v.db").out, "no faults\n")

    def test_explain_is_the_last_line_of_json(self):
        self.run_u2i("import", "v.db", "items", "items.jsonl")
        lines = self.search("--explain", "--json").jsonl
        self.assertEqual(len(lines), 4)
        self.assertEqual(lines[3]["explain"], {"search": "exact", "ef": 0, "compared": 400, "rounds": 0, "passing": 400})
        self.assertEqual(self.run_u2i("popular", "v.db", "--explain", "--json").jsonl[-1]["explain"]["search"], "none")

    def test_no_index_leaves_the_work_to_the_command(self):
        self.run_u2i("config", "v.db", "set", "index_exact_max", "100")
        self.assertEqual(len(self.run_u2i("import", "v.db", "items", "items.jsonl", "--no-index").lines), 1)
        made = self.run_u2i("index", "v.db", "--json").json
        self.assertEqual((made["index_items"], made["index_pending"]), (400, 0))
        self.assertGreater(made["index_ef"], 0)
        shutil.rmtree(self.path("v.db-index"))
        self.assertIn("400 vectors", self.run_u2i("index", "v.db").out)
        self.assertTrue(os.path.exists(self.path("v.db-index/content.hnsw")))
        self.run_u2i("index", "gone.db", code=3)

    def test_a_damaged_index_is_a_fault_with_advice_and_costs_nothing(self):
        self.run_u2i("config", "v.db", "set", "index_exact_max", "100")
        self.run_u2i("import", "v.db", "items", "items.jsonl")
        with open(self.path("v.db-index/content.hnsw"), "r+b") as f:
            f.seek(9000)
            f.write(b"\xff" * 8)
        found = self.run_u2i("verify", "v.db", code=5)
        self.assertTrue(found.out.startswith("v.db-index/content.hnsw: "), found.out)
        self.assertIn("in the index only", found.err)
        answer = self.search()
        self.assertIn("i7", answer.out)
        self.assertIn("v.db-index/content.hnsw", answer.err)
        self.run_u2i("index", "v.db")
        self.assertEqual(self.run_u2i("verify", "v.db").out, "no faults\n")


if __name__ == "__main__":
    unittest.main()
