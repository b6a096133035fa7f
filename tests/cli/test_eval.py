"""eval: metrics against values worked out by hand and against the judge, splits, variants, files, the picture."""
import csv
import gzip
import importlib.util
import io
import json
import math
import os
import random
import subprocess
import sys
import xml.etree.ElementTree

import common
from test_train import ITEMS, events_of_two_tastes

JUDGE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "bench", "quality", "evaluate.py")


def log2(x):
    return math.log(x, 2)


class Eval(common.Case):
    def folder(self, name, **files):
        os.makedirs(self.path(name))
        for file, text in files.items():
            self.write(f"{name}/{file}.csv", text)
        return name

    def judge(self, *args):
        return self.run_u2i("eval", *args, "--json").jsonl


class Metrics(Eval):
    """Answers from a file, so that nothing but the arithmetic is tested."""

    def setUp(self):
        super().setUp()
        self.folder("split", heldout="user,item\nann,a\nann,b\nann,c\nbob,x\ncid,q\n",
                    history="user,item,action,timestamp,value\nann,seen,like,1000,\n",
                    train="user,item,action,timestamp,value\nu,a,like,1,\nv,a,like,1,\nw,b,view,1,\nw,b,view,2,\n")
        self.write("items.csv", "id,title,category\na,A,x y\nb,B,x z\nn1,N,q\nx,X,\n")
        # ann: hits at ranks 1, 3 and 12; bob: at 2, after a repeat that is dropped; cid: no answer
        answers = ["user,item,rank", "ann,a,1", "ann,seen,2", "ann,b,3"]
        answers += [f"ann,n{k},{k}" for k in range(4, 12)] + ["ann,c,12", "bob,n1,1", "bob,n1,2", "bob,x,3", "dan,a,1"]
        self.write("answers.csv", "\n".join(answers) + "\n")

    def test_values_worked_out_by_hand(self):
        got = self.judge("--split", "split", "--items", "items.csv", "--answers", "peer=answers.csv")[0]
        ideal3 = 1 + 1 / log2(3) + 1 / log2(4)
        ann10 = (1 + 1 / log2(4)) / ideal3
        ann100 = (1 + 1 / log2(4) + 1 / log2(13)) / ideal3
        bob = 1 / log2(3)
        ndcg10 = [ann10, bob, 0]
        mean = sum(ndcg10) / 3
        self.assertAlmostEqual(got["ndcg10"], mean, 5)
        self.assertAlmostEqual(got["ndcg100"], (ann100 + bob) / 3, 5)
        self.assertAlmostEqual(got["recall20"], 2 / 3, 5)
        self.assertAlmostEqual(got["recall20raw"], 2 / 3, 5)
        self.assertAlmostEqual(got["hr10"], 2 / 3, 5)
        self.assertAlmostEqual(got["mrr"], (1 + 1 / 2) / 3, 5)
        self.assertAlmostEqual(got["ndcg10_se"], math.sqrt(sum((x - mean) ** 2 for x in ndcg10) / 3) / math.sqrt(3), 5)
        self.assertEqual((got["users"], got["unanswered_users"], got["duplicates"], got["from_history"]), (3, 1, 1, 1))
        # 13 different items were shown, 4 are in the catalogue
        self.assertAlmostEqual(got["coverage20"], 14 / 4, 5)

    def test_novelty_and_diversity_by_hand(self):
        self.write("two.csv", "user,item,rank\nann,a,1\nann,b,2\nbob,a,1\n")
        got = self.judge("--split", "split", "--items", "items.csv", "--answers", "peer=two.csv", "-v",
                         "none: train=no")[0]
        # three users act in training: two on a, one on b (twice, which counts once)
        ann = (-log2(2 / 3) - log2(1 / 3)) / 2
        self.assertAlmostEqual(got["novelty"], (ann - log2(2 / 3)) / 2, 4)
        self.assertAlmostEqual(got["diversity"], 1 - 1 / 2, 5)  # of bob there is no pair

    def test_cold_items_are_picked_out_of_the_list(self):
        self.folder("cold", heldout="user,item\nann,c\n", cold_items="item\nc\nd\n")
        self.write("a.csv", "user,item,rank\nann,x,1\nann,d,2\nann,c,3\n")
        got = self.judge("--split", "cold", "--answers", "peer=a.csv")[0]
        self.assertAlmostEqual(got["ndcg10"], 1 / log2(3), 5)
        self.assertEqual(got["not_cold"], 1)

    def test_the_judge_agrees_to_the_last_digit(self):
        if importlib.util.find_spec("numpy") is None and not os.environ.get("U2I_QUALITY_PYTHON"):
            self.skipTest("needs numpy: U2I_QUALITY_PYTHON names a Python that has it")
        python = os.environ.get("U2I_QUALITY_PYTHON") or sys.executable
        rng = random.Random(5)
        rows, answers = ["user,item"], ["user,item,rank"]
        for u in range(60):
            rows += [f"u{u},{rng.randrange(300)}" for _ in range(rng.randrange(1, 30))]
            answers += [f"u{u},{rng.randrange(300)},{r}" for r in range(1, rng.randrange(2, 120))]
        self.folder("big", heldout="\n".join(rows) + "\n")
        self.write("big.csv", "\n".join(answers) + "\n")
        ours = self.judge("--split", "big", "--answers", "peer=big.csv")[0]
        done = subprocess.run([python, JUDGE, "big/heldout.csv", "big.csv"], cwd=self.dir, capture_output=True, check=True)
        theirs = json.loads(done.stdout)
        for name in ("ndcg10", "ndcg100", "recall20", "recall20raw", "hr10", "mrr", "ndcg10_se", "users"):
            self.assertAlmostEqual(ours[name], theirs[name], delta=1.01e-5, msg=name)

    def test_a_golden_case_of_the_judge(self):
        """What evaluate.py says of this case, kept for machines without numpy."""
        rows = [f"u{u},{(u * 7 + k * 11) % 40}" for u in range(8) for k in range(u + 1)]
        answers = [f"u{u},{(u * 5 + r * 3) % 40},{r}" for u in range(7) for r in range(1, 31)]
        self.folder("gold", heldout="user,item\n" + "\n".join(rows) + "\n")
        self.write("gold.csv", "user,item,rank\n" + "\n".join(answers) + "\n")
        got = self.judge("--split", "gold", "--answers", "peer=gold.csv")[0]
        for name, value in GOLDEN.items():
            self.assertAlmostEqual(got[name], value, delta=1.01e-5, msg=name)


GOLDEN = {"ndcg10": 0.15957, "ndcg100": 0.29573, "recall20": 0.38899, "recall20raw": 0.38899, "hr10": 0.625,
          "mrr": 0.28393, "ndcg10_se": 0.04885, "users": 8, "unanswered_users": 1}


class Comparisons(Eval):
    def setUp(self):
        super().setUp()
        heldout = ["user,item"] + [f"u{k},t{k}" for k in range(40)]
        self.folder("s1", heldout="\n".join(heldout) + "\n")
        self.folder("s2", heldout="user,item\nv,t\n", heldout_cold="user,item\nw,t\n")
        good = [f"u{k},t{k},1" for k in range(40)] + ["v,t,1", "w,t,1"]
        for split in ("s1", "s2"):
            self.write(f"good-{split}.csv", "user,item,rank\n" + "\n".join(good) + "\n")
            self.write(f"bad-{split}.csv", "user,item,rank\n" + "\n".join(g.replace(",t", ",x") for g in good) + "\n")

    def test_variants_stand_against_the_first_one(self):
        bad, good, *_ = self.judge("--split", "s1", "--answers", "bad=bad-{split}.csv", "--answers",
                                   "good=good-{split}.csv")
        self.assertNotIn("against", bad)
        self.assertEqual(good["against"], {"variant": "bad", "metric": "ndcg10", "difference": 1, "low95": 1,
                                           "high95": 1, "verdict": "better"})

    def test_splits_are_pooled_and_strangers_stand_apart(self):
        got = self.judge("--split", "s1", "--split", "s2", "--answers", "good=good-{split}.csv")
        self.assertEqual([(g["split"], g["strangers"], g["users"]) for g in got],
                         [("s1", False, 40), ("s2", False, 1), ("all", False, 41), ("s2", True, 1), ("all", True, 1)])

    def test_table_csv_and_per_user_file(self):
        args = ["eval", "--split", "s1", "--answers", "bad=bad-{split}.csv", "--answers", "good=good-{split}.csv"]
        table = self.run_u2i(*args, "--per-user", "users.csv").out
        self.assertRegex(table, r"s1 +good +40 +1\.0000")
        self.assertIn("better", table)
        rows = list(csv.DictReader(io.StringIO(self.run_u2i(*args, "--csv").out)))
        self.assertEqual([(r["variant"], float(r["ndcg10"])) for r in rows], [("bad", 0), ("good", 1)])
        users = list(csv.DictReader(io.StringIO(self.read("users.csv"))))
        self.assertEqual(len(users), 80)
        self.assertEqual(users[-1]["variant"], "good")

    def test_the_same_seed_gives_the_same_interval(self):
        self.write("mixed.csv", "user,item,rank\n" + "".join(f"u{k},{'t' if k % 3 else 'x'}{k},1\n" for k in range(40)))
        args = ["--split", "s1", "--answers", "bad=bad-s1.csv", "--answers", "mixed=mixed.csv"]
        first, again, other = (self.judge(*args, "--seed", s)[1]["against"] for s in ("1", "1", "2"))
        self.assertEqual(first, again)
        self.assertTrue(first["low95"] < first["difference"] < first["high95"])
        self.assertAlmostEqual(first["low95"], other["low95"], delta=0.05)

    def test_wrong_command_lines_are_explained(self):
        def refused(*args, code=2):
            return self.run_u2i("eval", *args, code=code).err
        self.assertIn("--split", refused())
        self.assertIn("--items", refused("--split", "s1"))
        self.assertIn("begins with the variant's name", refused("--split", "s1", "--variant", "x"))
        self.assertIn("two variants", refused("--split", "s1", "-v", "a:", "-v", "a:"))
        self.assertIn("{variant}", refused("--split", "s1", "-v", "a:", "-v", "b:", "--out", "o.csv"))
        self.assertIn("heldout", refused("--split", "nowhere", "--answers", "a=b.csv", code=1))
        self.write("bad.csv", "user,item,rank\nu1,t1,first\n")
        self.assertIn("whole number", refused("--split", "s1", "--answers", "a=bad.csv", code=1))


class Running(Eval):
    """A log of two tastes, made into splits, trained and asked."""

    def setUp(self):
        super().setUp()
        self.write("items.csv", ITEMS)
        self.write("events.csv", events_of_two_tastes())

    def make(self, kind, folder="split", *args, events="events.csv"):
        return self.run_u2i("eval", "--make", kind, "--events", events, "--to", folder, *args)

    def rows(self, name):
        with gzip.open(self.path(name + ".csv.gz"), "rt", encoding="utf-8") as f:
            return list(csv.DictReader(f))

    def test_training_beats_its_absence_and_the_picture_shows_it(self):
        self.make("unseen-users", "split", "--seed", "3")
        no, yes = self.judge("--items", "items.csv", "--split", "split", "-v", "popular: train=no", "-v", "u2i:",
                             "--out", "{variant}/{split}.csv", "--plot", "plot.svg")
        self.assertEqual(no["users"], 24)
        self.assertEqual(yes["against"]["verdict"], "better", (no, yes))
        self.assertIn("version", yes["training"])
        answers = list(csv.DictReader(io.StringIO(self.read("u2i/split.csv"))))
        known = {(r["user"], r["item"]) for r in self.rows("split/history")}
        self.assertTrue(answers)
        self.assertFalse(known & {(r["user"], r["item"]) for r in answers})
        # The answers as a file are judged the same.
        again = self.judge("--split", "split", "--answers", "u2i=u2i/split.csv")[0]
        self.assertEqual(again["ndcg100"], yes["ndcg100"])
        picture = xml.etree.ElementTree.fromstring(self.read("plot.svg"))
        self.assertTrue(picture.tag.endswith("svg"))
        self.assertEqual(len(picture.findall(".//{*}circle")), 2)

    def test_answers_do_not_depend_on_the_number_of_threads(self):
        self.make("unseen-users")
        for threads in ("1", "4"):
            self.run_u2i("eval", "--items", "items.csv", "--split", "split", "--threads", threads, "-o", f"{threads}.csv")
        self.assertEqual(self.read("1.csv"), self.read("4.csv"))

    def test_settings_reach_the_store_and_a_wrong_one_is_named(self):
        self.make("unseen-users")
        args = ["eval", "--items", "items.csv", "--split", "split"]
        self.run_u2i(*args, "--set", "action.like=3", "-v", "short: window=5 half_life_s=86400", "--store", "kept.db")
        self.assertIn("action.like", self.run_u2i("config", "kept.db").out)
        self.assertIn("window", self.run_u2i(*args, "-v", "x: window=many", code=2).err)
        self.assertIn("nosuch", self.run_u2i(*args, "-v", "x: nosuch=1", code=2).err)

    def test_unseen_users_are_not_in_training(self):
        self.make("unseen-users", "split", "--fold", "1", "--seed", "9")
        train, history, heldout = (self.rows(f"split/{f}") for f in ("train", "history", "heldout"))
        tested = {r["user"] for r in heldout}
        self.assertFalse(tested & {r["user"] for r in train})
        self.assertEqual(tested, {r["user"] for r in history})
        self.assertFalse({(r["user"], r["item"]) for r in history} & {(r["user"], r["item"]) for r in heldout})
        for user in tested:  # 13 likes each: the last fifth of them
            self.assertEqual(sum(r["user"] == user for r in heldout), 3)
        other = self.make("unseen-users", "other", "--fold", "2", "--seed", "9")
        self.assertFalse(tested & {r["user"] for r in self.rows("other/heldout")}, other.out)

    def test_leave_last_asks_everybody_for_one(self):
        self.make("leave-last")
        heldout, train = self.rows("split/heldout"), self.rows("split/train")
        self.assertEqual(len(heldout), 120)
        self.assertEqual(len({r["user"] for r in heldout}), 120)
        self.assertEqual(len(train), 120 * 12)
        self.assertEqual(len(self.rows("split/history")), len(train))

    def test_global_time_trains_on_the_past(self):
        self.make("global-time")
        at = float(self.read("split/T.txt"))
        self.assertTrue(all(float(r["timestamp"]) < at for r in self.rows("split/train")))
        self.assertTrue(self.rows("split/heldout"))
        self.assertTrue(all(r["users"] > 0 for r in self.judge("--items", "items.csv", "--split", "split")))

    def test_strangers_are_those_without_a_past(self):
        late = "".join(f"late{k},a{k},like,{1700000000 + 86400 * 12}\n" for k in range(3))
        self.write("more.csv", events_of_two_tastes() + late)
        self.make("global-time", events="more.csv")
        self.assertEqual({r["user"] for r in self.rows("split/heldout_cold")}, {"late0", "late1", "late2"})
        strangers = [g for g in self.judge("--items", "items.csv", "--split", "split") if g["strangers"]]
        self.assertEqual(strangers[0]["users"], 3)

    def test_cold_items_are_without_events_and_only_they_are_ranked(self):
        self.make("cold-items", "split", "--seed", "4")
        cold = {r["item"] for r in self.rows("split/cold_items")}
        self.assertTrue(cold)
        for name in ("train", "history"):
            self.assertFalse(cold & {r["item"] for r in self.rows(f"split/{name}")})
        self.assertLessEqual({r["item"] for r in self.rows("split/heldout")}, cold)
        got = self.judge("--items", "items.csv", "--split", "split", "-o", "out.csv")[0]
        self.assertNotIn("not_cold", got)
        self.assertLessEqual({r["item"] for r in csv.DictReader(io.StringIO(self.read("out.csv")))}, cold)

    def test_a_store_is_a_log_too(self):
        self.run_u2i("init", "shop.db")
        self.run_u2i("import", "shop.db", "items", "items.csv")
        self.run_u2i("import", "shop.db", "events", "events.csv")
        self.run_u2i("eval", "--make", "unseen-users", "--from", "shop.db", "--to", "split", "--seed", "3")
        self.assertEqual(len({r["user"] for r in self.rows("split/heldout")}), 24)

    def test_an_unknown_action_is_explained(self):
        self.write("odd.csv", events_of_two_tastes().replace(",like,", ",adore,"))
        self.make("unseen-users", events="odd.csv")
        args = ["eval", "--items", "items.csv", "--split", "split"]
        self.assertIn("--map-action", self.run_u2i(*args, code=1).err)
        self.run_u2i(*args, "--map-action", "adore=like")
        self.run_u2i(*args, "--set", "action.adore=2")

    def test_files_that_are_there_are_not_overwritten_by_make(self):
        self.make("unseen-users")
        self.assertIn("exists", self.run_u2i("eval", "--make", "leave-last", "--events", "events.csv", "--to", "split",
                                             code=1).err)


if __name__ == "__main__":
    common.main()
