"""reembed: other vectors for the same items, and what is said of it."""
import json
import signal
import subprocess
import time
import unittest

import common


class Reembed(common.Case):
    def setUp(self):
        super().setUp()
        self.make_shop()

    def reembed(self, *args, **kwargs):
        return self.run_u2i("reembed", "shop.db", *args, **kwargs)

    def first(self, text):
        return self.run_u2i("search", "shop.db", text, "-n", "1", "--json").json["id"]

    def test_another_length(self):
        said = self.reembed("--model", "hash", "--dim", "64")
        self.assertRegex(said.out, r"^model hash-64, vectors of 64; 6 items embedded in [\d.]+ s, [\d,]+ texts/s\n$")
        stats = self.stats()
        self.assertEqual((stats["model"], stats["dim"], stats["items_no_vector"]), ("hash-64", 64, 0))
        self.assertEqual(self.first("galactic empire falling"), "b2")
        self.assertEqual(self.run_u2i("verify", "shop.db").out, "no faults\n")
        back = self.reembed("--model", "hash", "--json").json
        self.assertEqual((back["model"], back["dim"], back["embedded"]), ("hash-512", 512, 6))

    def test_without_options_the_model_stays(self):
        self.assertRegex(self.reembed().out, r"^model hash-512, vectors of 512; 6 items embedded")
        self.assertEqual(self.first("galactic empire falling"), "b2")

    def test_what_cannot_be_is_refused(self):
        self.assertIn("makes no vectors", self.reembed("--model", "none", "--dim", "4", code=2).err)
        unknown = self.reembed("--model", "nothing-of-that-name", code=3, env={"U2I_MODELS": self.path("home")})
        self.assertIn("u2i model list", unknown.err)
        self.reembed("--model", "./nowhere", code=3)
        self.reembed("--dim", "0", code=2)
        self.reembed("--long-texts", "fold", code=2)
        self.run_u2i("reembed", "gone.db", code=3)
        self.assertEqual(self.stats()["dim"], 512)

    def test_an_interrupted_one_is_gone_on_with(self):
        rows = [{"id": f"i{i}", "title": f"the story number {i} of {i % 97}"} for i in range(8000)]
        self.run_u2i("import", "shop.db", "items", "-", stdin="".join(json.dumps(row) + "\n" for row in rows))
        process = subprocess.Popen([common.U2I, "reembed", "shop.db", "--model", "hash", "--dim", "300"], cwd=self.dir,
                                   env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
        if process.returncode == 130 and b"while the index was made" in err:
            self.assertEqual(self.stats()["dim"], 300)  # the signal came after the switch
        elif process.returncode == 130:
            self.assertRegex(err.decode(), r"interrupted: [\d,]+ of 8,006 items are embedded; the same command goes on")
            self.assertEqual(self.stats()["dim"], 512)
        else:  # it was faster, or the signal came before the handler
            self.assertIn(process.returncode, (0, -signal.SIGINT), err)
        done = self.reembed("--model", "hash", "--dim", "300", "--json").json
        self.assertLessEqual(done["embedded"], 8006)
        self.assertEqual(self.stats()["dim"], 300)
        self.assertEqual(self.first("galactic empire falling"), "b2")


if __name__ == "__main__":
    unittest.main()
